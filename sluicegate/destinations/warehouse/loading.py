"""What all warehouse destinations do with a batch: decode, plan, change tables, load, and name the events left out."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import msgspec

from sluicegate.destinations import plan as plans
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.warehouse.dialect import Dialect
from sluicegate.destinations.warehouse.plan import Change, Column, Plan, Planner, Table, tables_of
from sluicegate.destinations.warehouse.rows import Origin, Row, rows_of
from sluicegate.destinations.warehouse.settings import WarehouseSettings
from sluicegate.destinations.warehouse.values import Unfit
from sluicegate.errors import Rejected, Retry

MAX_ROUNDS = 4
"""Times that tables are changed for one batch: others may change them at the same time."""
LONGEST_SHARE = 0.5
"""After this part of the time for a call no further table is begun with: what is left goes in the next call.

A call that asks for one table after another would otherwise be taken for hung, however fast each answer is.
"""
READ_AT_A_TIME = 10
MAX_ABSENT = 10_000
"""Tables of which is kept in mind that they are not there."""


class Warehouse(Destination):
    """Base of destinations that store rows in tables; one call of `deliver` at a time."""

    dialect: ClassVar[Dialect]

    def __init__(self, settings: WarehouseSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._origin = Origin(destination_id=context.id)
        self._json_columns = frozenset(settings.json_columns)
        self._known: dict[str, Table] = {}
        self._absent: set[str] = set()
        self._fixed: set[Column] = set()
        self._left: set[int] = set()
        self._late_at = 0.0

    @abstractmethod
    def _read_tables(self, names: Collection[str]) -> Mapping[str, Table]:
        """Those of these tables that there are."""

    @abstractmethod
    def _count_tables(self) -> int:
        """How many tables the schema has."""

    @abstractmethod
    def _change_tables(self, changes: Iterable[Change]) -> Collection[Column]:
        """Create tables, add and widen columns; those that are there already are left alone. Columns that stay."""

    @abstractmethod
    def _load(self, rows: Mapping[str, Sequence[Row]], batch: Batch) -> Mapping[int, str]:
        """Store the rows; events that the engine refused by index, with the reason."""

    def deliver(self, batch: Batch) -> Outcome | None:
        """Store the batch; events that cannot be stored are rejected by themselves."""
        self._left.clear()
        self._late_at = time.monotonic() + LONGEST_SHARE * self.context.timeout_s
        rejected: dict[int, str] = {}
        events = [rows for rows in self._decoded(batch, rejected) if rows]
        plan = self._planned(events)
        rejected |= plan.rejected
        if plan.rows:
            rejected |= self._load(plan.rows, batch)
        if self._left:
            return Outcome(rejected=rejected, again=frozenset(self._left))
        if rejected:
            raise Rejected(rejected)
        return None

    def preview(self, batch: Batch, now_ms: int) -> plans.Plan:
        """The rows of a batch by table, as they are before they meet what the tables are like."""
        rejected: dict[int, str] = {}
        rows = [row for rows in self._decoded(batch, rejected) for row in rows]
        found = plans.Plan(rejected=rejected)
        for table in dict.fromkeys(row.table for row in rows):
            mine = [row for row in rows if row.table == table]
            body = msgspec.json.encode({"table": table, "rows": [row.data for row in mine]})
            found.requests.append(plans.Request("", body, [row.index for row in mine]))
        return found

    def forget(self) -> None:
        """Read the tables again before the next batch: somebody else has changed them."""
        self._known.clear()
        self._absent.clear()
        self._fixed.clear()

    def _in_time(self, rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Sequence[Row]]]:
        """The tables one after the other, those of events first; events that it gets too late for are left out."""
        for number, table in enumerate(event_tables_first(rows)):
            if number and rows[table][0].owner is not None and time.monotonic() > self._late_at:
                self._left.update(row.index for row in rows[table])
            wanted = [row for row in rows[table] if row.index not in self._left]
            if wanted:
                yield table, wanted

    def _decoded(self, batch: Batch, rejected: dict[int, str]) -> Iterable[list[Row]]:
        for index, (raw, message_id) in enumerate(zip(batch.raws, batch.message_ids, strict=True)):
            try:
                event = msgspec.json.decode(raw)
                rows = rows_of(
                    event,
                    message_id=message_id,
                    dialect=self.dialect,
                    origin=self._origin,
                    json_columns=self._json_columns,
                )
            except (Unfit, msgspec.DecodeError, RecursionError) as error:
                rejected[index] = str(error)
                continue
            for row in rows:
                row.index = index
            yield rows

    def _planned(self, events: Sequence[Sequence[Row]]) -> Plan:
        """The plan for these events, once all tables are as it needs them."""
        wanted = tables_of(events, self.dialect)
        for _ in range(MAX_ROUNDS):
            self._look_for(wanted)
            room = self.settings.max_tables - self._count_tables() if wanted - self._known.keys() else 0
            plan = Planner(self._known, self.dialect, fixed=self._fixed, room=room).plan(events)
            if not plan.changes:
                return plan
            for change in plan.changes.values():
                self._fixed.update(self._change_tables([change]))
                self._known.pop(change.table, None)
                self._absent.discard(change.table)
                self._go_on_later()
        raise Retry("the tables were changed by others at the same time")

    def _look_for(self, wanted: Collection[str]) -> None:
        """Read the tables that are not known yet, some at a time."""
        unread = [table for table in wanted if table not in self._known and table not in self._absent]
        for first in range(0, len(unread), READ_AT_A_TIME):
            some = unread[first : first + READ_AT_A_TIME]
            self._known |= self._read_tables(some)
            if len(self._absent) > MAX_ABSENT:
                self._absent.clear()
            self._absent.update(table for table in some if table not in self._known)
            self._go_on_later()

    def _go_on_later(self) -> None:
        """Raise `Retry` when this call has taken long; what it has read and made so far stays."""
        if time.monotonic() > self._late_at:
            raise Retry("its tables are not ready yet: looking for them and making them goes on with the next attempt")


def event_tables_first(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """The tables of events before those that all share: an event that is refused there is then not in these either."""
    return sorted(rows, key=lambda table: rows[table][0].owner is None)
