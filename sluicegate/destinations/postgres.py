"""`postgres`: the warehouse schema in PostgreSQL, one transaction per batch, each event once.

Rows are copied into a temporary table and inserted from it by `ON CONFLICT (id)`, so that a batch which is sent again
changes nothing. Tables and columns are made before, in transactions of their own behind an advisory lock.
"""

from __future__ import annotations

import select
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import psycopg
from psycopg import sql

from sluicegate.destinations.base import Batch, Context
from sluicegate.destinations.postgres_connection import GRACE_S, Connection
from sluicegate.destinations.postgres_errors import outcome_of, reason
from sluicegate.destinations.postgres_login import Login
from sluicegate.destinations.postgres_settings import PostgresSettings
from sluicegate.destinations.starting import starting
from sluicegate.destinations.warehouse.dialect import POSTGRES, Dialect
from sluicegate.destinations.warehouse.loading import Warehouse
from sluicegate.destinations.warehouse.plan import Change, Column, Table
from sluicegate.destinations.warehouse.rows import Row
from sluicegate.destinations.warehouse.values import MAX_EXACT, Kind, Stored
from sluicegate.errors import CredentialsRefused, Retry

TYPES = {
    Kind.STRING: "text",
    Kind.INT: "bigint",
    Kind.FLOAT: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DATETIME: "timestamp with time zone",
    Kind.JSON: "jsonb",
}
_KINDS = {text: kind for kind, text in TYPES.items()} | {
    "integer": Kind.INT,
    "smallint": Kind.INT,
    "real": Kind.FLOAT,
    "numeric": Kind.FLOAT,
    "timestamp without time zone": Kind.DATETIME,
    "date": Kind.DATETIME,
    "json": Kind.JSON,
}
"""Columns of any other type are filled with texts; PostgreSQL says whether they fit."""
_OWNER = "sluicegate event: "
"""The comment on an event's table begins with this, and says whose it is."""
_USERS = "users"
_READ = """
    SELECT c.relname, obj_description(c.oid, 'pg_class'), a.attname, format_type(a.atttypid, NULL)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'f') AND c.relname = ANY(%s)
"""
_COUNT = """
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relkind IN ('r', 'p')
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class Postgres(Warehouse):
    """Stores batches over one connection, which is opened again when it breaks."""

    settings_type = PostgresSettings
    dialect: ClassVar[Dialect] = POSTGRES

    def __init__(self, settings: PostgresSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._login = Login(settings, context)
        self._schema: str = settings.schema
        self._connection: Connection | None = None

    def initialize(self) -> None:
        """Connect, and make the schema if it is not there."""
        with starting(), self._transaction() as connection:
            found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self._schema)))

    def test(self) -> None:
        """Ask whether we may create tables in the schema."""
        question = "SELECT has_schema_privilege(%s, 'CREATE, USAGE')"
        with starting(), self._transaction() as connection:
            allowed = connection.execute(question, (self._schema,)).fetchone()
        if allowed is None or not allowed[0]:
            raise CredentialsRefused(
                f"we may not make tables: GRANT CREATE, USAGE ON SCHEMA {self._schema} TO the user"
            )

    def destroy(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _read_tables(self, names: Collection[str]) -> Mapping[str, Table]:
        with self._transaction() as connection:
            return self._tables(connection, names)

    def _tables(self, connection: psycopg.Connection, names: Collection[str]) -> Mapping[str, Table]:
        columns: dict[str, dict[str, Kind]] = {}
        owners: dict[str, str | None] = {}
        for table, comment, column, type_name in connection.execute(_READ, (self._schema, list(names))):
            owners[table] = comment.removeprefix(_OWNER) if (comment or "").startswith(_OWNER) else None
            found = columns.setdefault(table, {})
            if column is not None:
                found[column] = _KINDS.get(type_name, Kind.STRING)
        return {table: Table(found, owners[table]) for table, found in columns.items()}

    def _count_tables(self) -> int:
        with self._transaction() as connection:
            row = connection.execute(_COUNT, (self._schema,)).fetchone()
        return 0 if row is None else int(row[0])

    def _change_tables(self, changes: Iterable[Change]) -> Collection[Column]:
        fixed: set[Column] = set()
        for change in changes:
            with self._transaction() as connection:
                connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"sluicegate {self._schema}",)
                )
                if change.is_new and not self._tables(connection, [change.table]):
                    self._create(connection, change)
                else:
                    self._add(connection, change)
            fixed |= {(change.table, column) for column in change.widen if not self._widen(change.table, column)}
        return fixed

    def _create(self, connection: psycopg.Connection, change: Change) -> None:
        columns = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(column), sql.SQL(TYPES[kind]), sql.SQL(" PRIMARY KEY" if column == "id" else "")
            )
            for column, kind in change.add.items()
        ]
        statement = sql.SQL("CREATE TABLE {} (uuid_ts timestamp with time zone DEFAULT now(), {})")
        connection.execute(statement.format(self._name(change.table), sql.SQL(", ").join(columns)))
        if change.owner is not None:
            comment = sql.SQL("COMMENT ON TABLE {} IS {}")
            connection.execute(comment.format(self._name(change.table), sql.Literal(_OWNER + change.owner)))

    def _add(self, connection: psycopg.Connection, change: Change) -> None:
        columns = [
            sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(sql.Identifier(column), sql.SQL(TYPES[kind]))
            for column, kind in change.add.items()
        ]
        if columns:
            alter = sql.SQL("ALTER TABLE {} {}").format(self._name(change.table), sql.SQL(", ").join(columns))
            connection.execute(alter)

    def _widen(self, table: str, column: str) -> bool:
        """Make a column of whole numbers one of fractions, unless that would change what it has or a view needs it."""
        names = {"table": self._name(table), "column": sql.Identifier(column)}
        too_great = sql.SQL("SELECT 1 FROM {table} WHERE {column} NOT BETWEEN {least} AND {most} LIMIT 1")
        alter = sql.SQL("ALTER TABLE {table} ALTER COLUMN {column} TYPE double precision")
        with self._transaction() as connection:
            bounds = {"least": sql.Literal(-MAX_EXACT), "most": sql.Literal(MAX_EXACT)}
            if connection.execute(too_great.format(**names, **bounds)).fetchone():
                return False
            try:
                with connection.transaction():
                    connection.execute(alter.format(**names))
            except psycopg.errors.FeatureNotSupported:
                return False
        return True

    def _load(self, rows: Mapping[str, Sequence[Row]], batch: Batch) -> Mapping[int, str]:
        with self._transaction() as connection:
            for table, group in rows.items():
                merged = _merged(group) if table == _USERS else group
                self._insert(connection, table, merged)
        return {}

    def _insert(self, connection: psycopg.Connection, table: str, rows: Sequence[Row]) -> None:
        columns = list(dict.fromkeys(column for row in rows for column in row.data))
        names = {"table": self._name(table), "columns": sql.SQL(", ").join(map(sql.Identifier, columns))}
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE sluicegate_load ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
            ).format(**names)
        )
        with connection.cursor() as cursor:
            with cursor.copy(sql.SQL("COPY sluicegate_load ({columns}) FROM STDIN").format(**names)) as copy:
                for row in rows:
                    copy.write_row([row.data.get(column) for column in columns])
            insert = sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM sluicegate_load ON CONFLICT (id) ")
            cursor.execute(insert.format(**names) + self._on_conflict(table, columns))
            cursor.execute("DROP TABLE sluicegate_load")

    def _on_conflict(self, table: str, columns: Sequence[str]) -> sql.Composable:
        """What to do with an id that is there: nothing; for users, the new traits unless they are older."""
        if table != _USERS:
            return sql.SQL("DO NOTHING")
        sets = [
            sql.SQL("{0} = coalesce(excluded.{0}, {1}.{0})").format(sql.Identifier(column), self._name(table))
            for column in columns
            if column != "id"
        ]
        if "received_at" not in columns:
            return sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(sets)) if sets else sql.SQL("DO NOTHING")
        newer = sql.SQL(" WHERE {0}.received_at IS NULL OR excluded.received_at >= {0}.received_at")
        return sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(sets)) + newer.format(self._name(table))

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self._schema, table)

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection]:
        """A transaction; whatever fails in it is told as an outcome of `deliver`."""
        connection = self._connected()
        try:
            with connection.transaction():
                yield connection
        except psycopg.Error as error:
            if connection.broken:
                self._connection = None
            outcome = outcome_of(error)
            if isinstance(outcome, Retry):
                self.forget()
            raise outcome from error

    def _connected(self) -> psycopg.Connection:
        if self._connection is not None and not self._connection.closed:
            if not _has_ended(self._connection):
                return self._connection
            self._connection.close()
        try:
            connection = Connection.connect(**self._login.parameters(), autocommit=True)
        except OSError as error:
            raise Retry(f"the database cannot be reached: {error.strerror or error}") from error
        except psycopg.OperationalError as error:
            raise outcome_of(error, connecting=True) from error
        except psycopg.Error as error:
            raise CredentialsRefused(f"the connection cannot be made as configured: {reason(error)}") from error
        connection.answer_timeout_s = self.context.timeout_s + GRACE_S
        self._connection = connection
        return connection


def _has_ended(connection: psycopg.Connection) -> bool:
    """Whether the server has closed an idle connection, or is about to: it says nothing unasked but that."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _merged(rows: Sequence[Row]) -> list[Row]:
    """One row per user, with the latest value of each column: `ON CONFLICT` takes each id once."""
    users: dict[Stored, Row] = {}
    for row in rows:
        known = users.setdefault(row.data["id"], row)
        if known is not row:
            users[row.data["id"]] = Row(row.table, known.kinds | row.kinds, known.data | row.data, index=row.index)
    return list(users.values())
