"""Settings that all warehouse destinations have."""

from __future__ import annotations

import re

from sluicegate.config.declaration import Settings

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class WarehouseSettings(Settings):
    """`json_columns` are columns that keep objects as JSON; `max_tables` is how many tables there may be."""

    json_columns: list[str] = []  # noqa: RUF012  (msgspec copies it)
    max_tables: int = 1_000

    def __post_init__(self) -> None:
        if self.max_tables < 1:
            raise ValueError("max_tables: must be 1 or more; leave it out for 1,000")
        for name in self.json_columns:
            check_name("json_columns", name)


def check_name(key: str, name: str) -> None:
    """Raise `ValueError` unless this can name a schema, a database or a column without quotes."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{key}: {name[:80]!r} is not a name; write letters, digits and _, at most 63")
