"""Reading on where the log is damaged: what can still be read comes out, the rest goes into the quarantine ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from sluicegate.errors import PageDamaged, RowDamaged
from sluicegate.eventlog.base import Offset, Row, damaged_row
from sluicegate.eventlog.packing import MAX_ROW_EVENTS
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.eventlog.rows import LOST, checked_row
from sluicegate.eventlog.salvage import Found, find_rows, payload_of
from sluicegate.pages import Pages
from sluicegate.sqlite import errors_of, fetch

logger = logging.getLogger(__name__)

LOOK_AHEAD = 100_000
"""Offsets for which the pages are looked through at once, when a tree does not lead to a row's events."""

_SCAN = """
    SELECT first, count, received_at_ms, n_bytes, seal, meta FROM rows
    WHERE first >= coalesce((SELECT max(first) FROM rows WHERE first <= ?1), 0) ORDER BY first
"""


UNREAD = "it cannot be read"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that is not whole, and why: only a row that a repair marked as lost has its true number of events."""

    first: Offset
    count: int
    why: str


class Rescue:
    """For one `SqliteLog`, whose connection it uses; `head` tells where the log ends."""

    def __init__(self, db: apsw.Connection, path: Path, *, head: Callable[[], Offset], reader: str | None) -> None:
        self._db = db
        self._path = path
        self._head = head
        self._reader = reader
        self._quarantine = Quarantine(path.parent)
        self._stretch: list[Row] = []
        """What was last looked for, without a gap: rows that were found and those that stand for damage."""
        self._places: dict[Offset, Found] = {}

    def forgotten(self) -> Offset:
        """The newest offset that retention removed, as far as that can be believed."""
        return self.trimmed() or 0

    def trimmed(self) -> Offset | None:
        """The same; None when what the log says of it cannot be believed."""
        try:
            with errors_of(self._path):
                last, oldest = fetch(self._db, "SELECT (SELECT last FROM trimmed), (SELECT min(first) FROM rows)")[0]
        except PageDamaged:
            return None
        return last if isinstance(last, int) and last >= 0 and (oldest is None or last < oldest) else None

    def read(self, after: Offset, *, max_events: int, max_bytes: int, why: str, reached: list[Row]) -> list[Row]:
        """Rows from after an offset on at which a plain read failed (`why`) or `reached` only later ones."""
        first = max(after, self.forgotten()) + 1
        head = self._head()
        if first > head or (reached and reached[0].first <= first):
            return reached
        if not self._stretch or not self._stretch[0].first <= first <= self._stretch[-1].last:
            stretch = self._look(first, head, why)
            self._report(stretch)
            self._stretch = stretch
        found: list[Row] = []
        for row in self._stretch:
            if row.last < first:
                continue
            max_events -= row.count
            max_bytes -= row.n_bytes
            if found and (max_events < 0 or max_bytes < 0):
                break
            found.append(row)
        return found

    def payload(self, row: Row, *, why: str) -> bytes:
        """The event bytes of a row that a plain look-up did not give; raises `RowDamaged` when nothing does."""
        if row.damage is None:
            try:
                return self._salvaged(row)
            except RowDamaged as error:
                why = f"{why}; {error}"
            self._record(row.first, row.last, why)
        raise RowDamaged(f"{self._path}: events {row.first} to {row.last} are damaged: {why}")

    def _salvaged(self, row: Row) -> bytes:
        with self._pages() as pages:
            if row.first not in self._places:
                self._places = _places(pages, row.first, row.first + LOOK_AHEAD)
            place = self._places.get(row.first)
            if place is None:
                raise RowDamaged("no page has it")
            return payload_of(pages, place)

    def _look(self, first: Offset, head: Offset, why: str) -> list[Row]:
        """Everything from `first` to where plain reading goes on again."""
        suspects: list[Suspect] = []
        resumed = self._resume(first, head, suspects)
        if resumed is not None and resumed.first <= first:
            return [resumed]
        last = head if resumed is None else resumed.first - 1
        at_ms = resumed.received_at_ms if resumed else 0
        places: dict[Offset, Found] = {}
        if not (len(suspects) == 1 and _covers(suspects[0], first, last)):
            with self._pages() as pages:
                places = self._places = _places(pages, first - MAX_ROW_EVENTS, last)
        reasons = _reasons(suspects, why)
        return list(_tiled([places[at].row for at in sorted(places)], first, last, reasons, at_ms=at_ms))

    def _resume(self, first: Offset, head: Offset, suspects: list[Suspect]) -> Row | None:
        """The first whole row with events from `first` on that SQLite leads to; what is not whole before it: a suspect.

        A page or a row that SQLite cannot read is jumped over, further each time.
        """
        low, step = first, 1
        while low <= head:
            try:
                with closing(self._db.execute(_SCAN, (low,))) as cursor:
                    for columns in cursor:
                        try:
                            row = checked_row(*columns)
                        except RowDamaged as error:
                            count = columns[1] if isinstance(columns[1], int) else 0
                            suspects.append(Suspect(columns[0], count, str(error)))
                            continue
                        if row.last >= first:
                            return row
                return None
            except (apsw.CorruptError, UnicodeDecodeError):
                suspects.append(Suspect(0, 0, UNREAD))
                low, step = low + step, 2 * step
            except apsw.Error as error:
                with errors_of(self._path):
                    raise error
        return None

    def _report(self, stretch: list[Row]) -> None:
        for row in stretch:
            if row.damage is not None:
                self._record(row.first, row.last, row.damage)

    def _record(self, first: Offset, last: Offset, why: str) -> None:
        if self._reader is None:
            return
        logger.error("%s: events %d to %d are damaged and left out: %s", self._path, first, last, why)
        self._quarantine.record(first, last, why=why, found_by=self._reader)

    @contextmanager
    def _pages(self) -> Iterator[Pages]:
        pages = Pages.of(self._db, self._path)
        try:
            with errors_of(self._path):
                yield pages
        finally:
            self._db.execute("ROLLBACK")


def _places(pages: Pages, first: Offset, last: Offset) -> dict[Offset, Found]:
    return {found.first: found for found in find_rows(pages, first, last)}


def _reasons(suspects: list[Suspect], why: str) -> list[tuple[Offset, str]]:
    """From which offset on a reason holds; the last one up to an offset is that of the event."""
    reasons = {0: UNREAD if why == LOST else why}
    for one in sorted(suspects, key=lambda one: one.first):
        if one.first:
            reasons[one.first] = one.why
            if one.why == LOST:
                reasons[one.first + one.count] = UNREAD
    return sorted(reasons.items())


def _tiled(
    rows: list[Row], first: Offset, last: Offset, reasons: list[tuple[Offset, str]], *, at_ms: int
) -> Iterator[Row]:
    """The rows that were found, and between them rows that stand for damage."""
    due = first
    for row in rows:
        if row.last < due or (row.first < due and due > first):
            continue
        if row.first > due:
            yield from _lost(due, row.first - 1, reasons, at_ms=row.received_at_ms)
        yield row
        due = row.last + 1
    if due <= last:
        yield from _lost(due, last, reasons, at_ms=at_ms)


def _lost(first: Offset, last: Offset, reasons: list[tuple[Offset, str]], *, at_ms: int) -> Iterator[Row]:
    """Rows that stand for damage, a new one where the reason changes: it may be one that is dealt with already."""
    why = reasons[0][1]
    for at, reason in reasons:
        if first < at <= last and reason != why:
            yield damaged_row(first, at - 1, why=why, received_at_ms=at_ms)
            first = at
        if at <= last:
            why = reason
    yield damaged_row(first, last, why=why, received_at_ms=at_ms)


def _covers(suspect: Suspect, first: Offset, last: Offset) -> bool:
    return suspect.first <= first and suspect.first + suspect.count - 1 == last
