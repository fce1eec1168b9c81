"""What a denial stops: waits until it is in force everywhere, and counts the events that wait and will not go."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from sluicegate.accounts import read_accounts
from sluicegate.config import Config
from sluicegate.consent.evidence import Told
from sluicegate.consent.subject import Subject
from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.delivery.flight import Interrupted, interrupted_calls
from sluicegate.delivery.gate import Gate, open_ledger_reader
from sluicegate.errors import SluicegateError
from sluicegate.event import About
from sluicegate.eventlog.base import Offset, Row
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import registrations
from sluicegate.routing import Decision, RoutingTable

logger = logging.getLogger(__name__)

MAX_COUNTED = 200_000
"""Events of the log that are looked at for one answer, the oldest that wait: a quarter of a second."""
MAX_WAITING = 1_000
"""Denials of Python applications that wait for their turn: seconds' worth, or a minute's while a process is stopped."""
_READ_EVENTS = 20_000
_READ_BYTES = 64 * 1024 * 1024  # of the rows' sizes; only their meta is read


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a denial came to.

    `stopped` counts by destination the waiting events that their stamps allowed and that will not go, `in_flight` the
    calls that had been entered before. `late` names destinations that did not confirm in time. `complete` tells
    whether all that waits was counted.
    """

    stopped: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    late: tuple[str, ...] = ()
    complete: bool = True


def denies(told: Told) -> bool:
    """Whether anything is denied by this evidence."""
    return any(not write.granted for writes in told.writes.values() for write in writes)


class Barrier:
    """Makes denials of one system final; `pass_on` takes milliseconds and may be called from any one thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._data_dir = DataDir(config.data_dir)
        self._destinations = {d.id: d for d in config.destinations.values() if d.enabled}
        self._table = RoutingTable(self._destinations.values())

    def pass_on(self, told: Iterable[Told]) -> Stopped:
        """Wait until what is in the ledger now is in force for every call that is still to be made; then count."""
        seen = wait_until_seen(self._data_dir.stores)
        calls = {name: interrupted_calls(self._calls_path(name))[1] for name in seen.loaded}
        in_flight = {name: len(found) for name, found in calls.items() if found}
        try:
            stopped, complete = self._count([one.subject for one in told], calls)
        except SluicegateError:
            stopped, complete = {}, False  # what is not known changes nothing about what is in force
        return Stopped(stopped, in_flight, tuple(seen.late), complete)

    def _calls_path(self, name: str) -> Path:
        return self._data_dir.store(name).with_suffix(".calls")

    def _count(self, subjects: list[Subject], calls: dict[str, list[Interrupted]]) -> tuple[dict[str, int], bool]:
        log = SqliteLog(self._data_dir.event_log, create=False, reader="consent")
        ledger = open_ledger_reader(self._data_dir, self._config.consent)
        try:
            ledger.refresh()
            head = log.head()
            cursors = self._cursors(head)
            gates = {name: Gate(ledger, self._destinations[name].requires, self._config.consent) for name in cursors}
            counts: Counter[str] = Counter()
            first = min(cursors.values(), default=head)
            for row, places, about in _matches(log, first, min(head, first + MAX_COUNTED), subjects):
                for name, gate in gates.items():
                    allowed = self._allowed(name, row, cursors[name], calls.get(name, ()))
                    reasons = gate.reasons(about)
                    counts[name] += sum(
                        reason is not None and allowed(place) for place, reason in zip(places, reasons, strict=True)
                    )
        finally:
            ledger.close()
            log.close()
        return {name: n for name, n in sorted(counts.items()) if n}, head <= first + MAX_COUNTED

    def _cursors(self, head: Offset) -> dict[str, Offset]:
        registered = {n: r for n, r in registrations(self._data_dir).items() if n in self._destinations}
        return {name: account.cursor for name, account in read_accounts(self._data_dir, registered, head=head).items()}

    def _allowed(self, name: str, row: Row, cursor: Offset, calls: Iterable[Interrupted]) -> Callable[[int], bool]:
        """Whether the event at a place of this row waited for a destination, and its stamp allowed it."""
        combos = row.meta.combos
        permitted = [self._table.decide(combo, name) is Decision.ALLOW for combo in combos]

        def allowed(place: int) -> bool:
            offset = row.first + place
            return offset > cursor and permitted[row.meta.combo_of[place]] and not _is_in(offset, calls)

        return allowed


T = TypeVar("T")


class Denials(Generic[T]):
    """Passes denials on in a thread of its own, and reports each by its token.

    The report is None when it is not known whether a denial is in force: passing it on failed, or too many waited.
    """

    def __init__(self, config: Config, report: Callable[[tuple[T, Stopped | None]], None]) -> None:
        self._barrier = Barrier(config)
        self._report = report
        self._thread = ThreadPoolExecutor(1, "denials")
        self._room = threading.BoundedSemaphore(MAX_WAITING)

    def pass_on(self, told: Told, token: T) -> None:
        """Report when this denial, which is in the ledger, is in force for every call that is still to be made."""
        if self._room.acquire(blocking=False):
            self._thread.submit(self._run, told, token)
        else:
            self._report((token, None))

    def close(self) -> None:
        """Take no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, told: Told, token: T) -> None:
        stopped = None
        try:
            stopped = self._barrier.pass_on([told])
        except Exception:
            logger.exception("it is not known whether a denial is in force")
        self._room.release()
        self._report((token, stopped))


def _is_in(offset: Offset, calls: Iterable[Interrupted]) -> bool:
    """Whether an event is in one of these calls."""
    return any(
        not call.replay and call.first <= offset <= call.last and (call.offsets is None or offset in call.offsets)
        for call in calls
    )


def _matches(
    log: SqliteLog, after: Offset, last: Offset, subjects: list[Subject]
) -> Iterator[tuple[Row, list[int], About]]:
    """The places of events of these subjects, row by row, with what consent is decided by."""
    users = {subject.user_id for subject in subjects if subject.user_id}
    visitors = {subject.anonymous_id for subject in subjects if subject.anonymous_id}
    while after < last and (rows := log.read(after, max_events=_READ_EVENTS, max_bytes=_READ_BYTES)):
        for row in rows:
            if row.damage is not None:
                continue
            meta = row.meta
            if users.isdisjoint(meta.user_ids) and visitors.isdisjoint(meta.anonymous_ids):
                continue
            columns = zip(meta.user_ids, meta.anonymous_ids, strict=True)
            places = [i for i, (user, visitor) in enumerate(columns) if user in users or visitor in visitors]
            yield row, places, meta.about.pick(places)
        after = rows[-1].last
