"""The tables of docs/configuration.md; `python -m sluicegate.config.reference docs/configuration.md` renews them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sluicegate.config.keys import TABLES, Key, Table, default_text
from sluicegate.config.sample import range_text

_BLOCK = re.compile(r"(<!-- keys: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOP_NAME = "top"


def reference_table(name: str) -> str:
    """The keys of one table as Markdown."""
    table = next(table for table in TABLES if (table.name or _TOP_NAME) == name)
    rows = [_row(table, key) for key in table.keys]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def renewed(page: str) -> str:
    """The page with every `<!-- keys: TABLE -->` block replaced by what the rows say now."""
    return _BLOCK.sub(lambda match: f"{match[1]}{reference_table(match[2])}{match[3]}", page)


def _row(table: Table, key: Key) -> str:
    default = default_text(table, key)
    shown = f"`{default}`" if default else f"e.g. `{key.sample}`"
    why = f" ({key.why})" if key.why else ""
    numbers = range_text(key).removesuffix(".") + why
    return f"| `{key.name}` | {shown} | {key.help}{numbers}{'.' if numbers else ''} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text()))
