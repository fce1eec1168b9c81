"""The thread that minds all destinations without a process: reads what arrived, says who is wanted, moves cursors."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from sluicegate.config import Config
from sluicegate.config.model import consent_of, redacts_for
from sluicegate.delivery.gate import Gate, open_ledger_reader
from sluicegate.delivery.held import HoldBounds
from sluicegate.delivery.held_log import Numbers
from sluicegate.delivery.held_sweep import HeldSweep
from sluicegate.delivery.letter_bounds import trim_decisions, trim_letters
from sluicegate.delivery.presence import is_present
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.spoilt import Spoilt
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweep import Skip, Sweep
from sluicegate.delivery.trimming import TRIM_EVERY_S, Trimming
from sluicegate.delivery.versions import StoreVersion, store_version
from sluicegate.errors import ConsentUnreadable, LogError
from sluicegate.event import Combo
from sluicegate.eventlog.base import Offset, Row
from sluicegate.eventlog.bell import FALLBACK_POLL_S, BellWatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registration, registrations
from sluicegate.routing import Decision, RoutingTable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
PASS_EVERY_S = 0.005
SKIP_EVERY_S = 1.0
SKIPS_AT_A_TIME = 100
REPLAYS_EVERY_S = 10.0
"""Whoever marks letters for replay asks for the destination too; this is for when that was not heard."""
READ_EVENTS = 20_000
READ_FOR_S = 0.1
"""How long a pass reads on in a long backlog: then it is heard who runs, and what was passed is stored."""
MAX_HELD = 50_000
"""Events to be held that may be in memory before they are stored."""
_CONSENT_DECIDES = frozenset({Decision.ALLOW, Decision.CONSENT_UNDECIDED})
READ_BYTES = 64 * 1024 * 1024  # of the rows' sizes; only their meta is read
STOP_S = 5.0


class Sweeper:
    """Runs a `Sweep` against the real log and stores.

    `on_wanted` is called in the sweeper's thread with all ids for which permitted events wait, whenever they change.
    `on_fatal` is its last call: nobody is minded any more, and the process should end.
    """

    def __init__(
        self,
        config: Config,
        data_dir: DataDir,
        *,
        on_wanted: Callable[[tuple[str, ...]], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._destinations = {d.id: d for d in config.destinations.values() if d.enabled}
        self._data_dir = data_dir
        self._on_wanted = on_wanted
        self._on_fatal = on_fatal
        self._spoilt = Spoilt()
        self._sweep = Sweep(self._decide, self._decide_each, self._hold, version=lambda: self._ledger.version)
        self._ledger = open_ledger_reader(data_dir, config.consent)
        self._gates = {
            name: Gate(self._ledger, one.requires, consent_of(one, config.consent), redacts_for=redacts_for(one))
            for name, one in self._destinations.items()
        }
        bounds = HoldBounds.of(config.consent)
        self._held = HeldSweep(self._ledger, self._gates, bounds, self._decide, self._open_store)
        self._numbers = Numbers(self._ledger)
        self._held_version = 0
        """The oldest version of the ledger by which events were judged that are to be held and are in no store yet."""
        self._table = RoutingTable(self._destinations.values())
        self._starts: dict[str, int] = {}
        self._running: frozenset[str] | None = None
        """None until the supervisor has said it: the cursor of a running destination must not be moved by others."""
        self._last_wanted: tuple[str, ...] = ()
        self._versions: dict[str, StoreVersion] = {}
        """Of stores in which no letter waits for replay."""
        self._next_skip = 0.0
        self._trimming = Trimming(
            config.log, data_dir, registered=self._registered, open_store=self._open_store, spoilt=self._spoilt
        )
        self._audit_ttl_s = config.consent.audit_ttl_s
        self._next_letters = time.monotonic() + TRIM_EVERY_S
        self._next_replays = 0.0
        self._passed_at = 0.0
        self._goes_on = False
        """Whether the next pass has something to do already."""
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def set_running(self, ids: Iterable[str]) -> None:
        """These destinations have a process; all others are to be minded. From any thread."""
        self._running = frozenset(ids)
        os.eventfd_write(self._nudge, 1)

    def stop(self, *, timeout_s: float = STOP_S) -> None:
        """End the thread and wait for it, but not for one that the disk holds: a commit is whole or not there."""
        self._stopping = True
        os.eventfd_write(self._nudge, 1)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("the sweeper does not end within %g s; the process ends without it", timeout_s)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve_on()
        except Exception as error:
            log.critical("the sweeper failed", exc_info=error)
            self._on_fatal(error)

    def _serve_on(self) -> None:
        bell = BellWatch(self._data_dir.bell)
        try:
            while not self._stopping:
                try:
                    self._serve(bell)
                except LogError as error:
                    log.error("cannot read the event log: %s", error)
                    time.sleep(LOOK_EVERY_S)
        finally:
            self._ledger.close()
            bell.close()

    def _serve(self, bell: BellWatch) -> None:
        event_log = SqliteLog(self._data_dir.event_log, create=False, reader="router")
        try:
            while not self._stopping:
                bell.clear()
                self._pass(event_log)
                self._wait(bell)
        finally:
            event_log.close()

    def _pass(self, event_log: SqliteLog) -> None:
        self._passed_at = time.monotonic()
        self._goes_on = False
        self._follow_running()
        try:
            self._look(event_log)
            self._mind_held(event_log)
        except ConsentUnreadable as error:
            self._goes_on = False
            log.error("what arrives for destinations that are not loaded has to wait: %s", error)
        if self._passed_at >= self._next_replays:
            self._next_replays = self._passed_at + REPLAYS_EVERY_S
            self._find_replays()
        self._tell_wanted()
        if time.monotonic() >= self._next_skip:
            self._next_skip = time.monotonic() + SKIP_EVERY_S
            for skip in self._sweep.skips(at_most=SKIPS_AT_A_TIME):
                self._try_skip(skip)

        now = time.monotonic()
        if self._trimming.keep_bounds(event_log, now):
            self._sweep.expire(event_log.tail())
        if now >= self._next_letters:
            self._next_letters = now + TRIM_EVERY_S
            self._trim_letters(self._registered())

    def _tell_wanted(self) -> None:
        wanted = self._sweep.wanted()
        if wanted != self._last_wanted:
            self._last_wanted = wanted
            self._on_wanted(wanted)

    def _trim_letters(self, ids: Iterable[str]) -> None:
        for name in ids:
            path, destination = self._data_dir.store(name), self._destinations[name]
            if not path.exists():
                continue
            now_ms = time.time_ns() // 1_000_000
            try:
                if dropped := trim_letters(path, destination, now_ms=now_ms):
                    log.info("%s: dropped the events of %d old dead letters", name, dropped)
            except LogError as error:
                log.warning("cannot drop old dead letters of %s: %s", name, error)
            try:
                trim_decisions(path, self._audit_ttl_s, now_ms=now_ms)
            except LogError as error:
                log.warning("cannot drop old decisions of %s: %s", name, error)

    def _registered(self) -> dict[str, Registration]:
        return {name: one for name, one in registrations(self._data_dir).items() if name in self._destinations}

    def _wait(self, bell: BellWatch) -> None:
        poller = select.poll()
        poller.register(self._nudge, select.POLLIN)
        fd = bell.fileno()
        if fd is not None and self._sweep.position() is not None:
            poller.register(fd, select.POLLIN)
        timeout_s = LOOK_EVERY_S
        if self._sweep.has_skips:
            timeout_s = max(0.0, self._next_skip - time.monotonic())
        if fd is None:
            timeout_s = min(timeout_s, FALLBACK_POLL_S)
        if self._goes_on:
            timeout_s = 0.0
        poller.poll(timeout_s * 1000)
        self._linger()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._nudge)

    def _linger(self) -> None:
        """Let a little come together when much arrives; an idle system is served at once."""
        left_s = self._passed_at + PASS_EVERY_S - time.monotonic()
        if left_s > 0:
            poller = select.poll()
            poller.register(self._nudge, select.POLLIN)
            poller.poll(left_s * 1000)

    def _follow_running(self) -> None:
        running = self._running
        if running is None:
            return
        for name in self._sweep.watched() & running:
            self._forget(name)
        fresh = set(self._destinations) - self._sweep.watched() - running
        if not fresh:
            return
        if not self._starts:
            self._starts = self._read_starts()
        for name in self._spoilt.due(fresh):
            with self._spoilt.minding(name):
                self._watch(name)
        for name in fresh & self._sweep.watched():
            if is_present(self._data_dir.presence(name)):  # we were told late, and may have read that one's epoch
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._sweep.forget(name)
        self._held.forget(name)

    def _read_starts(self) -> dict[str, int]:
        return {name: registration.start for name, registration in registrations(self._data_dir).items()}

    def _watch(self, name: str) -> None:
        path = self._data_dir.store(name)
        if not path.exists():
            self._sweep.watch(name, epoch=0, cursor=self._starts[name])
            self._held.watch(name, None)
            return
        store = DestinationStore.open(path, start=self._starts[name])
        try:
            state = store.state
            waits = bool(store.letters.replays(limit=1) or store.held.released(limit=1))
            wanted = waits or state.settled_to > 0  # only its process moves the cursor over what is settled already
            self._sweep.watch(name, epoch=state.epoch, cursor=state.cursor, wanted=wanted)
            self._held.watch(name, state)
        finally:
            store.close()

    def _open_store(self, name: str) -> DestinationStore:
        requires = self._destinations[name].requires
        return DestinationStore.open(self._data_dir.store(name), start=self._starts.get(name, 0), requires=requires)

    def _mind_held(self, event_log: SqliteLog) -> None:
        if self._sweep.watched():
            self._ledger.refresh()  # where all are wanted nothing was read, and what was granted must not expire
        for name in self._held.look(event_log, now_ms=time.monotonic_ns() // 1_000_000):
            self._sweep.want(name)
        for name in self._sweep.watched() - self._held.watched():
            self._sweep.forget(name)  # it runs, or ran: take its store anew
        self._goes_on = self._goes_on or self._held.busy

    def _store_held(self) -> None:
        for skip in self._sweep.skips(at_most=len(self._destinations)):
            if skip.held:
                self._try_skip(skip)

    def _find_replays(self) -> None:
        for name in self._spoilt.due(self._sweep.watched().difference(self._sweep.wanted())):
            with self._spoilt.minding(name):
                self._find_replays_of(name)

    def _find_replays_of(self, name: str) -> None:
        path = self._data_dir.store(name)
        version, at_ns = store_version(path), time.time_ns()
        if version.main is None or version == self._versions.get(name):
            return
        store = DestinationStore.open(path, start=self._starts[name])
        try:
            if store.letters.replays(limit=1) or store.held.released(limit=1):
                self._sweep.want(name)
            elif version.settled(at_ns):
                self._versions[name] = version
        finally:
            store.close()

    def _look(self, event_log: SqliteLog) -> None:
        """Read on for a while; whoever is found to be wanted is told at once, however much lies behind it.

        Nobody waits for a destination that is far behind the others: these are seen to in between.
        """
        until = self._passed_at + READ_FOR_S
        while (position := self._sweep.position()) is not None and not self._stopping:
            front = self._sweep.front(READ_EVENTS)
            if front is not None and front > position:
                self._read(event_log, front)
            rows = self._read(event_log, position)
            if not rows or self._sweep.position() == position:
                return
            self._tell_wanted()
            if time.monotonic() >= until:
                self._goes_on = True
                return

    def _read(self, event_log: SqliteLog, position: Offset) -> Sequence[Row]:
        rows = event_log.read(position, max_events=READ_EVENTS, max_bytes=READ_BYTES)
        if self._sweep.n_held() >= MAX_HELD:
            self._store_held()
        self._ledger.refresh()
        if not self._sweep.n_held():
            self._held_version = self._ledger.version
        for row in rows:
            self._sweep.look(row, after=position)
        if not rows:
            self._sweep.lose(event_log.tail() - 1)
        return rows

    def _try_skip(self, skip: Skip) -> None:
        if self._spoilt.due((skip.id,)):
            with self._spoilt.minding(skip.id):
                self._skip(skip)

    def _skip(self, skip: Skip) -> None:
        store = self._open_store(skip.id)
        try:
            if store.skip(
                expected_epoch=skip.epoch,
                expected_cursor=skip.cursor,
                cursor=skip.to,
                denied=skip.denied,
                expired=skip.expired,
                damaged=skip.damaged,
                held=self._held.holds(skip.id, tuple(skip.held), judged_by=self._held_version),
                decisions=skip.decisions,
            ):
                self._sweep.skipped(skip)
            elif skip.id not in (self._running or ()):
                self._forget(skip.id)  # it has moved on by itself: take its cursor anew
        finally:
            store.close()

    def _decide_each(self, name: str, row: Row, skipped: int) -> list[str | None] | None:
        """With the ledger, where it can have a say: a destination starts only for what it may have."""
        gate, decisions = self._gates[name], [self._table.decide(combo, name) for combo in row.meta.combos]
        if not any(decision in _CONSENT_DECIDES for decision in decisions):
            return None
        if not gate.completes and not (gate.holds and Decision.CONSENT_UNDECIDED in decisions):
            return None
        reasons = [_reason(decision) for decision in decisions]
        return gate.completed(row.meta.about, reasons, skipped, first=row.first, arrived_ms=row.received_at_ms)

    def _hold(self, name: str, row: Row, places: Sequence[int]) -> Sequence[HeldRow]:
        offsets = [row.first + place for place in places]
        return self._numbers.rows(row.meta.about.pick(places), offsets, arrived_ms=row.received_at_ms)

    def _decide(self, name: str, combo: Combo) -> str | None:
        return _reason(self._table.decide(combo, name))


def _reason(decision: Decision) -> str | None:
    return None if decision is Decision.ALLOW else decision
