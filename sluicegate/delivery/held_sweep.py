"""The events that destinations without a process hold: what was decided about them, and what has waited too long.

Nothing is delivered here. What may go is marked, and its destination is wanted; what was refused or has expired is
counted, and no process is started for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sluicegate.accounts import StoreState
from sluicegate.consent.decision import Reason
from sluicegate.consent.reading import LedgerReader
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds, number_of
from sluicegate.delivery.held_log import HeldLog
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import ConsentUnreadable, LogError, StaleEpoch
from sluicegate.event import Combo
from sluicegate.eventlog.base import EventLog, Offset

logger = logging.getLogger(__name__)

JUDGE_AT_A_TIME = 2_000
JUDGE_PER_PASS = 20_000
"""Held events of one destination that are judged in one pass: about 100 ms."""
EXPIRE_PER_PASS = 20_000
LOOK_EVERY_MS = 2_000
JUDGE_EVERY_MS = 500
"""A ledger that changes all the time is looked at this often: each look opens the store."""


@dataclass(slots=True)
class _Watched:
    """One destination's held events, as far as is known without its store."""

    epoch: int
    any: bool
    considered: int
    under: str
    stored: tuple[int, str]
    """What the store may say of the two while `to_judge` has events, which were not judged by that yet."""
    due_ms: int = 0
    """When to look for what has expired, on the clock of `look`; 0 for at once."""
    judge_ms: int = 0
    """When to look at the ledger's changes again, on the same clock; 0 for at once."""
    to_judge: list[Offset] = field(default_factory=list)


class HeldSweep:
    """Belongs to the sweeper's thread; the ledger is taken as of the last `refresh` of its reader."""

    def __init__(
        self,
        ledger: LedgerReader,
        gates: Mapping[str, Gate],
        bounds: HoldBounds,
        decide: Callable[[str, Combo], str | None],
        open_store: Callable[[str], DestinationStore],
    ) -> None:
        self._ledger = ledger
        self._gates = gates
        self._bounds = bounds
        self._decide = decide
        self._open_store = open_store
        self._watched: dict[str, _Watched] = {}
        self._changed: dict[int, frozenset[bytes] | None] = {}
        self._changed_by = -1

    def watch(self, name: str, state: StoreState | None) -> None:
        """Mind a destination, with the state of its store if it has one."""
        if state is None:
            self._watched[name] = _Watched(0, False, 0, "", (0, ""))
        else:
            stored = state.considered, state.held_under
            self._watched[name] = _Watched(state.epoch, state.held > 0, *stored, stored)

    def forget(self, name: str) -> None:
        """The destination minds itself."""
        self._watched.pop(name, None)

    def watched(self) -> set[str]:
        """Ids of the destinations that are minded; one whose store a process has claimed is no more."""
        return set(self._watched)

    @property
    def busy(self) -> bool:
        """Whether `look` has more to do at once."""
        return any(one.any and not (one.due_ms and one.judge_ms) for one in self._watched.values())

    def holds(self, name: str, rows: tuple[HeldRow, ...], *, judged_by: int) -> Holds | None:
        """These events, to be written with the cursor that passes them; they were judged by this version or later."""
        watched = self._watched.get(name)
        if not rows:
            return None
        if watched is None:  # a process has begun, so that the cursor will not be where it was
            return Holds(rows, 0, "", self._bounds)
        if not watched.any:
            watched.considered, watched.under, watched.any = judged_by, self._gates[name].under, True
            watched.stored = judged_by, watched.under
        watched.considered = min(watched.considered, judged_by)
        considered, under = watched.stored if watched.to_judge else (watched.considered, watched.under)
        watched.stored = min(considered, judged_by), under
        return Holds(rows, *watched.stored, self._bounds)

    def look(self, log: EventLog, *, now_ms: int) -> list[str]:
        """Do what is due, a bounded part of it; the destinations that have something to deliver now.

        `now_ms` is of a monotonic clock.
        """
        found = []
        for name, watched in list(self._watched.items()):
            try:
                if watched.any and self._mind(name, log, now_ms):
                    found.append(name)
            except LogError as error:  # of one destination must not keep the others
                watched.due_ms = watched.judge_ms = now_ms + LOOK_EVERY_MS
                logger.warning("what %s holds cannot be looked at: %s", name, error)
                if isinstance(error, ConsentUnreadable):
                    break  # for nobody, until the next `refresh`
        return found

    def _mind(self, name: str, log: EventLog, now_ms: int) -> bool:
        watched, gate = self._watched[name], self._gates[name]
        changed = watched.considered != self._ledger.version or watched.under != gate.under
        changed = changed or bool(watched.to_judge)
        judges = changed and now_ms >= watched.judge_ms
        if not judges and (changed or now_ms < watched.due_ms):
            return False
        watched.judge_ms = now_ms + JUDGE_EVERY_MS
        store = self._open_store(name)
        try:
            wakes = self._judge(name, watched, store, log) if judges else False
            if watched.to_judge:
                watched.judge_ms = 0
            elif now_ms >= watched.due_ms:
                watched.due_ms = now_ms + LOOK_EVERY_MS
                self._expire(watched, gate, store, log)
            watched.any = store.state.held > 0
        except StaleEpoch:
            self.forget(name)  # a process has begun
            return False
        finally:
            store.close()
        return wakes

    def _judge(self, name: str, watched: _Watched, store: DestinationStore, log: EventLog) -> bool:
        """Decide on the events that the ledger's changes may concern; whether any may go."""
        gate = self._gates[name]
        if watched.considered != self._ledger.version or watched.under != gate.under:
            keys = None if watched.under != gate.under else self._changed_since(watched.considered)
            numbers = None if keys is None else {number_of(key) for key in keys}
            watched.to_judge = sorted({*watched.to_judge, *store.held.of(numbers)})
            watched.considered, watched.under = self._ledger.version, gate.under
        held_log = HeldLog(log, gate, lambda combo: self._decide(name, combo))
        wakes = False
        for _ in range(0, JUDGE_PER_PASS, JUDGE_AT_A_TIME):
            some, rest = watched.to_judge[:JUDGE_AT_A_TIME], watched.to_judge[JUDGE_AT_A_TIME:]
            if not some:
                break
            judged = held_log.judge(some)
            changes = HeldChanges(
                denied=judged.denied,
                gone=judged.gone,
                damaged=judged.damaged,
                released=judged.allowed,
                considered=None if rest else watched.considered,
                under=watched.under,
                versions=judged.versions,
            )
            if changes:
                store.settle_held(watched.epoch, changes)
            if not rest:
                watched.stored = watched.considered, watched.under
            watched.to_judge = rest
            wakes = wakes or bool(judged.allowed)
        return wakes

    def _changed_since(self, version: int) -> frozenset[bytes] | None:
        """What the ledger says of it, asked once for all destinations that know the same version."""
        if self._changed_by != self._ledger.version:
            self._changed.clear()
            self._changed_by = self._ledger.version
        if version not in self._changed:
            self._changed[version] = self._ledger.changed_since(version)
        return self._changed[version]

    def _expire(self, watched: _Watched, gate: Gate, store: DestinationStore, log: EventLog) -> None:
        gone = store.held.before(log.tail(), limit=EXPIRE_PER_PASS)
        late = store.held.expired(arrived_before_ms=gate.expired_before_ms(), limit=EXPIRE_PER_PASS)
        denied = dict.fromkeys(sorted(set(late).difference(gone)), Reason.HOLD_EXPIRED.value)
        if gone or denied:
            versions = dict.fromkeys(denied, watched.considered)
            store.settle_held(watched.epoch, HeldChanges(denied=denied, gone=gone, versions=versions))
            if len(gone) == EXPIRE_PER_PASS or len(denied) == EXPIRE_PER_PASS:
                watched.due_ms = 0
