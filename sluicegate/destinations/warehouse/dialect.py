"""What the engines differ in: lengths and words of names, times that they can hold, columns set while loading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sluicegate.destinations.warehouse.reserved import BIGQUERY_WORDS, POSTGRES_WORDS

FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One engine's rules, one object each; `max_name` counts ASCII characters, `max_columns` those of one table.

    `load_columns` are times that are set when a row is loaded. A name that begins with one of `forbidden_prefixes`
    gets another underscore. Times outside of `first_time` to `last_time` are texts.
    """

    name: str
    max_name: int = 127
    max_columns: int = 10_000
    reserved: frozenset[str] = frozenset()
    forbidden_prefixes: tuple[str, ...] = ()
    load_columns: tuple[str, ...] = ("uuid_ts",)
    first_time: datetime = FIRST_TIME
    last_time: datetime = LAST_TIME
    takes_nul: bool = True


POSTGRES = Dialect("postgres", max_name=63, max_columns=1_600, reserved=POSTGRES_WORDS, takes_nul=False)
"""63 bytes is NAMEDATALEN - 1; 1,600 columns a table; no U+0000 in texts (PostgreSQL 17, 4.1.1, appendix K, 8.3)."""

CLICKHOUSE = Dialect(
    "clickhouse",
    first_time=datetime(1900, 1, 1, tzinfo=UTC),
    last_time=datetime(2299, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
"""DateTime64 holds 1900 to 2299 (clickhouse.com/docs/sql-reference/data-types/datetime64)."""

BIGQUERY = Dialect(
    "bigquery",
    reserved=BIGQUERY_WORDS,
    forbidden_prefixes=("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier"),
    load_columns=("uuid_ts", "loaded_at"),
)
"""Prefixes that a column cannot have: cloud.google.com/bigquery/docs/schemas#column_names."""
