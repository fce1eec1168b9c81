"""`clickhouse`: the warehouse schema in ClickHouse, a block per table and batch, each event once after merging.

Tables are ReplacingMergeTree by (day, id), so a batch that is sent again collapses; `users` is AggregatingMergeTree by
id, which keeps the latest value of each trait. Until a merge both show with `FINAL`, not without.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil
from typing import Any, ClassVar
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from sluicegate.destinations.base import Batch, Context
from sluicegate.destinations.clickhouse_errors import outcome_of
from sluicegate.destinations.clickhouse_settings import ClickHouseSettings
from sluicegate.destinations.pools import guarded_pool
from sluicegate.destinations.starting import starting
from sluicegate.destinations.warehouse.dialect import CLICKHOUSE, Dialect
from sluicegate.destinations.warehouse.loading import Warehouse
from sluicegate.destinations.warehouse.plan import Change, Column, Table
from sluicegate.destinations.warehouse.rows import Row
from sluicegate.destinations.warehouse.values import MAX_EXACT, Kind, Stored
from sluicegate.errors import CredentialsRefused, Rejected, Retry

CONNECT_TIMEOUT_S = 5
TYPES = {
    Kind.STRING: "String",
    Kind.INT: "Int64",
    Kind.FLOAT: "Float64",
    Kind.BOOLEAN: "Bool",
    Kind.DATETIME: "DateTime64(3, 'UTC')",
    Kind.JSON: "String",
}
_WRAPPED = re.compile(r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+, )?(.*)\)")
_KINDS = (
    (re.compile(r"U?Int\d+"), Kind.INT),
    (re.compile(r"Float\d+|Decimal.*"), Kind.FLOAT),
    (re.compile(r"Bool"), Kind.BOOLEAN),
    (re.compile(r"Date.*"), Kind.DATETIME),
)
_OWNER = "sluicegate event: "
"""The comment on an event's table begins with this, and says whose it is."""
_USERS = "users"
_EPOCH = "1970-01-01T00:00:00.000Z"
_COLUMNS = "SELECT table, name, type FROM system.columns WHERE database={db:String} AND table IN {names:Array(String)}"
_COMMENTS = "SELECT name, comment FROM system.tables WHERE database = {db:String} AND name IN {names:Array(String)}"
_COUNT = "SELECT count() FROM system.tables WHERE database = {db:String}"


class ClickHouse(Warehouse):
    """Inserts blocks over HTTP; a table that is not there, or lacks columns, is made ready first."""

    settings_type = ClickHouseSettings
    dialect: ClassVar[Dialect] = CLICKHOUSE

    def __init__(self, settings: ClickHouseSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._client: Client | None = None
        self._types: dict[Column, str] = {}
        self._pool = guarded_pool(context.network, timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=context.timeout_s))

    def initialize(self) -> None:
        """Connect, and make the database if it is not there."""
        with starting(), self._asking() as client:
            known = client.query("SELECT 1 FROM system.databases WHERE name = {db:String}", self._parameters())
            if not known.result_rows:
                client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(self.settings.database)}")

    def test(self) -> None:
        """Ask whether we may make tables and insert."""
        database = _quoted(self.settings.database)
        with starting(), self._asking() as client:
            allowed = client.query(f"CHECK GRANT CREATE TABLE, ALTER, INSERT ON {database}.*").result_rows
        if not allowed or not allowed[0][0]:
            raise CredentialsRefused(f"the user may not make tables: GRANT CREATE TABLE, ALTER, INSERT ON {database}.*")

    def destroy(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
        self._pool.clear()

    def _read_tables(self, names: Collection[str]) -> Mapping[str, Table]:
        parameters = self._parameters() | {"names": list(names)}
        columns: dict[str, dict[str, Kind]] = {}
        with self._asking() as client:
            for table, column, type_name in client.query(_COLUMNS, parameters).result_rows:
                columns.setdefault(table, {})[column] = kind_of(type_name)
                self._types[table, column] = type_name
            comments = {name: comment for name, comment in client.query(_COMMENTS, parameters).result_rows}
        return {table: Table(found, _owner(comments.get(table, ""))) for table, found in columns.items()}

    def _count_tables(self) -> int:
        with self._asking() as client:
            return int(client.query(_COUNT, self._parameters()).result_rows[0][0])

    def _change_tables(self, changes: Iterable[Change]) -> Collection[Column]:
        fixed: set[Column] = set()
        with self._asking() as client:
            for change in changes:
                if change.is_new:
                    client.command(self._creation(change))
                self._add(client, change)
                fixed |= {(change.table, name) for name in change.widen if not self._widen(client, change.table, name)}
        return fixed

    def _creation(self, change: Change) -> str:
        columns = ["uuid_ts DateTime64(3, 'UTC') DEFAULT now64(3)"]
        keys = ("id",) if change.table == _USERS else ("id", "timestamp")
        types = {"id": Kind.STRING} | ({} if change.table == _USERS else {"timestamp": Kind.DATETIME}) | change.add
        for column, kind in types.items():
            columns.append(f"{_quoted(column)} {TYPES[kind] if column in keys else _nullable(change.table, kind)}")
        engine = "ReplacingMergeTree ORDER BY (toDate(timestamp), id)"
        if change.table == _USERS:
            engine = "AggregatingMergeTree ORDER BY id"
        statement = f"CREATE TABLE IF NOT EXISTS {self._name(change.table)} ({', '.join(columns)}) ENGINE = {engine}"
        return statement if change.owner is None else f"{statement} COMMENT {_literal(_OWNER + change.owner)}"

    def _add(self, client: Client, change: Change) -> None:
        added = [
            f"ADD COLUMN IF NOT EXISTS {_quoted(name)} {_nullable(change.table, kind)}"
            for name, kind in change.add.items()
        ]
        if added:
            client.command(f"ALTER TABLE {self._name(change.table)} {', '.join(added)}")

    def _widen(self, client: Client, table: str, column: str) -> bool:
        """Make a column of whole numbers one of fractions, unless that would change what it has."""
        name, place = _quoted(column), self._name(table)
        bounds = f"{name} NOT BETWEEN {-MAX_EXACT} AND {MAX_EXACT}"
        if client.query(f"SELECT 1 FROM {place} WHERE {bounds} LIMIT 1").result_rows:
            return False
        client.command(f"ALTER TABLE {place} MODIFY COLUMN {name} {_nullable(table, Kind.FLOAT)}")
        return True

    def _load(self, rows: Mapping[str, Sequence[Row]], batch: Batch) -> Mapping[int, str]:
        key = batch.key(self.context.id)
        with self._asking() as client:
            for table, group in self._in_time(rows):
                columns = list(dict.fromkeys(column for row in group for column in row.data))
                if table != _USERS and "timestamp" not in columns:
                    columns.append("timestamp")
                self._insert(client, table, group, columns, token=f"{key} {table}")
        return {}

    def _insert(self, client: Client, table: str, rows: Sequence[Row], columns: Sequence[str], *, token: str) -> None:
        values = [self._values(rows, table, column) for column in columns]
        try:
            client.insert(
                self._name(table),
                values,
                column_names=columns,
                column_type_names=[self._types[table, column] for column in columns],
                column_oriented=True,
                settings={"insert_deduplication_token": token},
            )
        except (ValueError, ArithmeticError) as error:  # as of a text for a column of UUIDs, which is not ours
            raise Rejected(f"ClickHouse: a value does not fit its column of {table}: {error}") from error

    def _values(self, rows: Sequence[Row], table: str, column: str) -> list[Any]:
        values: list[Stored | None] = [row.data.get(column) for row in rows]
        if column == "timestamp" and table != _USERS:
            values = [value or row.data.get("received_at") or _EPOCH for row, value in zip(rows, values, strict=True)]
        if kind_of(self._types[table, column]) is Kind.DATETIME:
            return [None if value is None else datetime.fromisoformat(str(value)).astimezone(UTC) for value in values]
        return values

    def _parameters(self) -> dict[str, Any]:
        return {"db": self.settings.database}

    def _name(self, table: str) -> str:
        return f"{_quoted(self.settings.database)}.{_quoted(table)}"

    @contextmanager
    def _asking(self) -> Iterator[Client]:
        """The client; whatever fails is told as an outcome of `deliver`."""
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except (ClickHouseError, HTTPError, OSError) as error:
            outcome = outcome_of(error)
            if isinstance(outcome, Retry):
                self.forget()
            raise outcome from error

    def _connect(self) -> Client:
        url = urlsplit(self.settings.url)
        password = self.settings.password
        return clickhouse_connect.get_client(
            interface=url.scheme,
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            username=self.settings.user,
            password=password.reveal() if password else "",
            pool_mgr=self._pool,
            query_retries=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=ceil(self.context.timeout_s),  # the library cuts fractions off, and takes no 0
            autogenerate_session_id=False,
            client_name="sluicegate",
        )


def kind_of(type_name: str) -> Kind:
    """The type of a column by ClickHouse's name for it; texts for those that are not known."""
    while match := _WRAPPED.fullmatch(type_name):
        type_name = match[1]
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(type_name)), Kind.STRING)


def _nullable(table: str, kind: Kind) -> str:
    nullable = f"Nullable({TYPES[kind]})"
    return f"SimpleAggregateFunction(anyLast, {nullable})" if table == _USERS else nullable


def _owner(comment: str) -> str | None:
    return comment.removeprefix(_OWNER) if comment.startswith(_OWNER) else None


def _quoted(name: str) -> str:
    """A name in backticks; names have letters, digits and underscores only, which is checked once more."""
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise ValueError(f"{name!r} is not a name")
    return f"`{name}`"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
