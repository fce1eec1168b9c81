"""Rows against the tables that there are: what has to be created or widened, and which events cannot be stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sluicegate.destinations.warehouse.dialect import Dialect
from sluicegate.destinations.warehouse.names import suffixed
from sluicegate.destinations.warehouse.rows import Row
from sluicegate.destinations.warehouse.values import Kind, Stored, Unfit, fitted, widened

Column = tuple[str, str]
"""A table and a column of it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is: the types of its columns, and the identity of the event that it was made for, if known."""

    columns: Mapping[str, Kind]
    owner: str | None = None


@dataclass(slots=True)
class Change:
    """What one table needs: to be created when `is_new`, columns added, columns given a wider type."""

    table: str
    is_new: bool = False
    owner: str | None = None
    add: dict[str, Kind] = field(default_factory=dict)
    widen: dict[str, Kind] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """Rows by table in the order of their events, changes that must come before, and refused events by index."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)


def tables_of(rows: Sequence[Sequence[Row]], dialect: Dialect) -> set[str]:
    """Every table that these rows may go to: their own, and the one for when that belongs to another event."""
    wanted = {(row.table, row.owner) for event in rows for row in event}
    return {table for table, _ in wanted} | {suffixed(table, owner, dialect) for table, owner in wanted if owner}


class Planner:
    """Plans one batch; the first event that needs a column decides its type, as if each had come alone.

    `fixed` are columns whose types cannot be changed, `room` is how many tables may be created.
    """

    def __init__(
        self, known: Mapping[str, Table], dialect: Dialect, *, fixed: Collection[Column] = (), room: int = 1_000
    ) -> None:
        self._known = known
        self._dialect = dialect
        self._fixed = fixed
        self._room = room
        self._columns: dict[str, dict[str, Kind]] = {}
        self._owners: dict[str, str | None] = {}
        self._plan = Plan()

    def plan(self, events: Sequence[Sequence[Row]]) -> Plan:
        """The plan for the rows of these events."""
        for rows in events:
            try:
                found = [self._fit(row) for row in rows]
            except Unfit as error:
                self._plan.rejected[rows[0].index] = str(error)
                continue
            for row, added, wider in found:
                self._take(row, added, wider)
        return self._plan

    def _fit(self, row: Row) -> tuple[Row, dict[str, Kind], dict[str, Kind]]:
        """The row as its table takes it, the columns to add and those to widen; changes nothing."""
        row = self._placed(row)
        columns = self._columns_of(row.table)
        if row.kinds.items() <= columns.items():
            return row, {}, {}
        added: dict[str, Kind] = {}
        wider: dict[str, Kind] = {}
        data = dict(row.data)
        for column, kind in row.kinds.items():
            have = columns.get(column)
            if have is None:
                added[column] = kind
            elif have is not kind:
                data[column], now = self._value(row, column, have)
                if now is not have:
                    wider[column] = now
        if len(columns) + len(added) > self._dialect.max_columns:
            raise Unfit(f"table {row.table} would have more than {self._dialect.max_columns} columns")
        return Row(row.table, row.kinds, data, row.texts, row.owner, row.index), added, wider

    def _value(self, row: Row, column: str, have: Kind) -> tuple[Stored, Kind]:
        """A value for a column of another type, and the type that the column then has."""
        kind, value = row.kinds[column], row.data[column]
        if have is Kind.STRING and kind is Kind.DATETIME:
            return row.texts.get(column, value), have
        try:
            return fitted(value, kind, have), have
        except Unfit as error:
            now = widened(have, kind)
            if now is have or (row.table, column) in self._fixed:
                raise Unfit(f"{row.table}.{column}: {str(value)[:60]!r} {error}; make the column a text") from None
            return value, now

    def _placed(self, row: Row) -> Row:
        """The row in the table of its event, which has another name when the first belongs to another event."""
        if row.owner is None or self._owner_of(row.table) in (None, row.owner):
            return row
        table = suffixed(row.table, row.owner, self._dialect)
        if self._owner_of(table) not in (None, row.owner):
            raise Unfit(f"tables {row.table} and {table} belong to other events; rename this one")
        return Row(table, row.kinds, row.data, row.texts, row.owner, row.index)

    def _owner_of(self, table: str) -> str | None:
        if table in self._owners:
            return self._owners[table]
        known = self._known.get(table)
        return None if known is None else known.owner

    def _columns_of(self, table: str) -> Mapping[str, Kind]:
        if table in self._columns:
            return self._columns[table]
        known = self._known.get(table)
        if known is None and len(self._columns.keys() - self._known.keys()) >= self._room:
            raise Unfit(f"table {table} would be one too many; raise max_tables if so many events are meant")
        return {} if known is None else known.columns

    def _take(self, row: Row, added: dict[str, Kind], wider: dict[str, Kind]) -> None:
        self._plan.rows.setdefault(row.table, []).append(row)
        is_new = row.table not in self._known
        if not (added or wider):
            return
        change = self._plan.changes.setdefault(row.table, Change(row.table, is_new, row.owner))
        columns = self._columns.setdefault(row.table, dict(self._columns_of(row.table)))
        if is_new:
            self._owners.setdefault(row.table, row.owner)
        columns |= added | wider
        change.add |= added
        for column, kind in wider.items():
            (change.add if column in change.add else change.widen)[column] = kind
