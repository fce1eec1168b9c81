"""Erasing subjects from the files of a data directory, for the regulations that the ledger has.

A regulation is in force before this begins: nothing of its subjects is delivered any more. What is done here only
makes the traces unreadable, so it may be interrupted at any moment and begun again. In the order of this:

    event log      the subjects' events become empty placeholders, a few rows in a transaction, once the ids that they
                   tell are written over in the log files
    stores         their dead letters are removed
    log files      their ids are written over
    leftovers      copies of damaged files that a repair has put aside are removed
    once more      what was on its way when it was asked for is there by now
    databases      what was left beside rows and in WALs is overwritten, or cut off
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from sluicegate import failpoints
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, Regulation, finish, keys_to_erase, note, suppressed_to
from sluicegate.consent.standing import NO_END
from sluicegate.delivery.erasing_store import erase_in_store, leave_nothing_in
from sluicegate.delivery.erasing_texts import erase_in_text
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.whose import Whose
from sluicegate.errors import LogUnavailable, RowDamaged
from sluicegate.event import ERASED
from sluicegate.eventlog.base import Offset, Row, RowGone
from sluicegate.eventlog.erasing import LogEraser
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.owner import give_to_owner
from sluicegate.paths import DataDir
from sluicegate.sqlite import errors_of

log = logging.getLogger(__name__)

SETTLE_S = 12.0
"""When a system runs, a regulation ends no sooner: the longest that an event may be on its way from the look at who is
suppressed to the disk, and a call's end to its dead letter. Two time-outs of a locked database, and some."""
READ_EVENTS = 20_000
READ_BYTES = 64 * 1024 * 1024
MAX_UNREADABLE = 100

Progress = Callable[[int, int], object]
"""(events that were looked at, of how many): for a bar."""


@dataclass(slots=True)
class Report:
    """What was found: events, dead letters and words of log files that were erased, and files that were removed.

    `unreadable` are stretches of the log that are damaged, as [first, last]: nobody can say whose their events were.
    `looked_at` is the offset up to which the log was looked through.
    """

    events: int = 0
    letters: int = 0
    words: int = 0
    files: int = 0
    unreadable: list[list[int]] = field(default_factory=list)
    looked_at: Offset = 0
    destinations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Any) -> Report:
        """The report that a ledger has, which may be of a newer version."""
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in stored.items() if name in names})

    @classmethod
    def anew(cls, stored: Any) -> Report:
        """The same, for another look at everything: what an earlier process wrote last may not be on the disk."""
        report = cls.of(stored)
        report.looked_at, report.unreadable = 0, []
        return report


class Eraser:
    """Erases what the regulations of one data directory name; `locked` makes it the only one.

    `stop` is asked before every row; when it says so, `LogUnavailable` is raised.
    """

    def __init__(
        self,
        data_dir: DataDir,
        ledger: Ledger,
        *,
        progress: Progress = lambda done, total: None,
        dry_run: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stop = stop
        self._data_dir = data_dir
        self._ledger = ledger
        self._progress = progress
        self._dry_run = dry_run

    def begin(self, regulation: Regulation, report: Report | None = None) -> Report:
        """Erase what is there; the report so far, which `complete` makes whole.

        `report` is that of an attempt of this process that failed: it goes on where that ended.
        """
        report = report or Report.anew(regulation.report)
        whose = Whose(keys_to_erase(self._ledger, regulation.id), self._ledger.keys)
        self._erase(whose, regulation, report)
        return report

    def complete(self, regulation: Regulation, report: Report, *, now_ms: int) -> None:
        """Erase what has come since, make the files give up what was erased, and finish the regulation."""
        whose = Whose(keys_to_erase(self._ledger, regulation.id), self._ledger.keys)
        self._erase(whose, regulation, report)
        self._leave_nothing()
        report.destinations = deletions(self._data_dir)
        finish(self._ledger, regulation.id, asdict(report), now_ms=now_ms)
        with errors_of(self._ledger.path):
            self._ledger.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def count(self, keys: frozenset[bytes], *, up_to: Offset) -> Report:
        """What there is of these subjects; changes nothing."""
        report = Report()
        whose = Whose(keys, self._ledger.keys)
        self._erase_log(whose, report, up_to, "")
        self._erase_stores(whose, report, up_to)
        return report

    def _erase(self, whose: Whose, regulation: Regulation, report: Report) -> None:
        end = regulation.head
        if regulation.kind is Kind.SUPPRESS_WITH_DELETE:  # also what was on its way, until they are taken again
            end = suppressed_to(self._ledger, regulation.id)
        self._erase_log(whose, report, None if end == NO_END else end, regulation.id)
        n_found = len(whose.found)
        self._in_stores(whose, Report(), end, dry_run=True)
        if len(whose.found) > n_found:
            self._erase_texts(whose, report)
        self._erase_stores(whose, report, end)
        self._erase_texts(whose, report)
        report.files += _remove_leftovers(self._data_dir)

    # -- the log ----------------------------------------------------------------------------------------------------

    def _erase_log(self, whose: Whose, report: Report, end: Offset | None, regulation_id: str) -> None:
        """Go on after `report.looked_at` to an offset, or to the head."""
        if not self._data_dir.event_log.exists():
            return
        with self._opened() as (event_log, eraser):
            report.looked_at = max(report.looked_at, event_log.tail() - 1)
            last = event_log.head() if end is None else end
            while report.looked_at < last:
                rows = event_log.read(report.looked_at, max_events=READ_EVENTS, max_bytes=READ_BYTES)
                if not rows:
                    break
                # What was trimmed meanwhile needs no look, even if that is all that was left.
                report.looked_at = max(report.looked_at, min(rows[0].first - 1, last))
                if not self._dry_run and _has_new_ids(event_log, rows, whose):
                    self._erase_texts(whose, report)
                for row in rows:
                    if self._stop():
                        raise LogUnavailable("the system stops; erasing goes on when it runs again")
                    if row.first <= last and not self._erase_row(event_log, eraser, row, whose, report, last):
                        break
                if regulation_id:
                    note(self._ledger, regulation_id, asdict(report))
                self._progress(min(report.looked_at, last), last)

    def _erase_row(
        self, event_log: SqliteLog, eraser: LogEraser, row: Row, whose: Whose, report: Report, last: Offset
    ) -> bool:
        """Whether the row could be dealt with; if not, it is to be read again."""
        try:
            if row.damage is not None:
                raise RowDamaged(row.damage)
            places = whose.places(row.meta, lambda: event_log.events(row))
            places = [place for place in places if report.looked_at < row.first + place <= last]
            report.events += len(places) if self._dry_run else eraser.erase(row.first, places)
        except RowGone:
            return False
        except RowDamaged as error:
            log.warning("events %d to %d cannot be looked into: %s", row.first, row.last, error)
            if len(report.unreadable) < MAX_UNREADABLE:
                report.unreadable.append([row.first, row.last])
        report.looked_at = row.last
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_ERASING)
        return True

    @contextmanager
    def _opened(self) -> Iterator[tuple[SqliteLog, LogEraser]]:
        event_log = SqliteLog(self._data_dir.event_log, create=False, reader=None)
        eraser = LogEraser(self._data_dir.event_log)
        try:
            yield event_log, eraser
        finally:
            eraser.close()
            event_log.close()

    def _erase_texts(self, whose: Whose, report: Report) -> None:
        """Write over the ids in log files; before what tells these ids is erased, for a crash may follow that."""
        for path in sorted(path for path in self._data_dir.logs.rglob("*") if path.is_file()):
            report.words += erase_in_text(path, whose)

    # -- everything else --------------------------------------------------------------------------------------------

    def _erase_stores(self, whose: Whose, report: Report, up_to: Offset) -> None:
        self._in_stores(whose, report, up_to, dry_run=self._dry_run)

    def _in_stores(self, whose: Whose, report: Report, up_to: Offset, *, dry_run: bool) -> None:
        stores = stores_of(self._data_dir)
        if not stores:
            return
        with self._opened() as (event_log, _):
            for path in stores:
                DestinationStore.open(path, start=0).close()  # an older layout is brought up
                report.letters += erase_in_store(
                    path,
                    whose,
                    lambda offset: _is_erased(event_log, offset),
                    up_to=up_to,
                    version=self._ledger.version(),
                    dry_run=dry_run,
                )

    def _leave_nothing(self) -> None:
        """Raises `LogUnavailable` when somebody reads for too long."""
        if self._data_dir.event_log.exists():
            with self._opened() as (event_log, eraser):
                event_log.shrink(entirely=True)  # free pages, which trimming does not overwrite
                eraser.leave_nothing()
        for path in stores_of(self._data_dir):
            leave_nothing_in(path)


def _has_new_ids(event_log: SqliteLog, rows: Sequence[Row], whose: Whose) -> bool:
    """Whether these rows have events with ids of the subjects that were not found before."""
    n_found = len(whose.found)
    for row in rows:
        with suppress(RowGone, RowDamaged):
            if row.damage is None:
                whose.places(row.meta, partial(event_log.events, row))
    return len(whose.found) > n_found


def _is_erased(event_log: SqliteLog, offset: Offset) -> bool:
    for row in event_log.read(offset - 1, max_events=1, max_bytes=1):
        if row.damage is None and row.first <= offset <= row.last:
            return row.meta.combos[row.meta.combo_of[offset - row.first]].type == ERASED
    return False


def stores_of(data_dir: DataDir) -> list[Path]:
    """The stores that there are, also of destinations that are no longer configured."""
    return sorted(data_dir.stores.glob("*.db")) if data_dir.stores.is_dir() else []


def deletions(data_dir: DataDir) -> dict[str, str]:
    """How each destination with a store did at deleting what it had got: in Segment's words.

    `FINISHED` where nothing was ever delivered. No type of destination deletes at its vendor.
    """
    found = {}
    for path in stores_of(data_dir):
        store = DestinationStore.open(path, start=0)
        try:
            found[path.stem] = "NOT_SUPPORTED" if store.state.delivered else "FINISHED"
        finally:
            store.close()
    return found


def _remove_leftovers(data_dir: DataDir) -> int:
    """Copies of damaged files that `fsck` has put aside: they have what is to be erased, and cannot be written to."""
    folders, patterns = (data_dir.root, data_dir.stores), ("*.damaged-*", ".*.repairing*")
    found = [path for folder in folders for pattern in patterns for path in folder.glob(pattern)]
    for path in found:
        log.warning("%s may hold what is to be erased, and is removed", path)
        path.unlink(missing_ok=True)
    return len(found)


@contextmanager
def locked(data_dir: DataDir) -> Iterator[bool]:
    """Be the only process that erases; False when another one is at it."""
    fd = os.open(data_dir.erasing, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner(fd, data_dir.root)
        yield _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
