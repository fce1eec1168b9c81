"""The commented file that `sluicegate init` writes."""

from __future__ import annotations

import textwrap

from sluicegate.config.keys import (
    ACTORS,
    COMPAT,
    CONSENT,
    DESTINATION,
    GATEWAY,
    LOG,
    LOGS,
    MAP,
    NETWORK,
    PURPOSES,
    SUPERVISOR,
    TOP,
    Key,
    Kind,
    Table,
    default_text,
    number_text,
)

WIDTH = 110
_WRITTEN = {"data_dir", "listen", "write_keys"}
"""Keys that the template sets; the others are shown as comments, with their defaults."""
_OWN_SECTION = {"map"}
_HEAD = """\
# Configuration of Sluicegate. Check it with: sluicegate validate
#
# Lines that start with # and a space explain; take the # off the others to set a key. What they show is the
# default, or an example where there is none.
# Durations: "300ms", "30s", "5m", "1h30m", or seconds. Sizes: "32KiB", "1MB", or bytes.
# ${NAME} in a text is taken from the environment; $${ stands for ${. Before the first start:
#   export WEB_WRITE_KEY=$(openssl rand -hex 16)
"""
_ARCHIVE = """\
# The type "file" appends events as JSON Lines. A relative path starts at data_dir.
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
"""
_CRM = """\
# The type "webhook" posts batches as {"batch": [...], "sentAt": ...}; secret signs them (Standard Webhooks).
#[destinations.crm]
#url = "https://crm.example/hook"
#headers = { Authorization = "Bearer ${CRM_TOKEN}" }
#secret = "${CRM_SECRET}"
"""


def template() -> str:
    """A file that is right as it stands once `WEB_WRITE_KEY` is set, and names every key."""
    parts = [
        _HEAD,
        _rows(TOP),
        _section(GATEWAY),
        _section(LOG),
        _section(SUPERVISOR),
        _section(ACTORS),
        _section(LOGS),
        _section(NETWORK),
        _section(PURPOSES).replace("#ALIAS =", "#analytics ="),
        _section(CONSENT),
        _section(COMPAT),
        _ARCHIVE,
        _CRM + _rows(DESTINATION),
        f"{_comment(MAP.help)}#[destinations.crm.map]\n{_rows(MAP)}",
    ]
    return "\n".join(parts)


def _section(table: Table) -> str:
    return f"{_comment(table.help)}[{table.name}]\n{_rows(table)}"


def _rows(table: Table) -> str:
    return "".join(_row(table, key) for key in table.keys if key.name not in _OWN_SECTION)


def _row(table: Table, key: Key) -> str:
    mark = "" if key.name in _WRITTEN else "#"
    return f"{_comment(key.help + range_text(key))}{mark}{key.name} = {default_text(table, key) or key.sample}\n"


def range_text(key: Key) -> str:
    """Which numbers a key takes, as a sentence with a space before it; empty for keys that take none."""
    if key.kind in (Kind.FLAG, Kind.SPECIAL):
        return ""
    return f" From {number_text(key, key.low)} to {number_text(key, key.high)}."


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False) + "\n"
