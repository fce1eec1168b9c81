"""The events that one running destination holds: noticing what was decided, letting go of them, giving them up.

Who waits is in the store, and for events that the cursor has not passed yet in the settlement. What the ledger has
changed is looked at before rows that were read from the log go on, and with the ledger as it is then: so what a
decision sets free goes before all that arrived after it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sluicegate.consent.decision import Reason
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds, number_of
from sluicegate.delivery.held_log import HeldLog, Judged
from sluicegate.delivery.lane import Origin
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.recovery import DIED_TWICE
from sluicegate.delivery.settlement import Aside, Dead, HeldRow, Stage
from sluicegate.delivery.store import DestinationStore
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.eventlog.runs import Events

logger = logging.getLogger(__name__)

AT_A_TIME = 2_000
"""Held events that are judged or taken together: some milliseconds."""
MAX_BYTES = 8 * 1024 * 1024
"""Of events that are taken together, but for the rows that they lie in."""
EXPIRE_AT_A_TIME = 10_000
LANES = 4
"""Lanes of released events from which on no more are made."""
DEATHS_TO_BURY = 2
CAREFUL_AT_A_TIME = 50
"""Events that are taken together when a process has died of one of them."""


class Holding:
    """Belongs to the worker's thread. Methods raise `ConsentUnreadable`, `LogUnavailable` and `StaleEpoch`."""

    def __init__(
        self,
        store: DestinationStore,
        log: EventLog,
        gate: Gate,
        lanes: Lanes,
        held_log: HeldLog,
        *,
        epoch: int,
        bounds: HoldBounds,
    ) -> None:
        self._store = store
        self._log = log
        self._gate = gate
        self._lanes = lanes
        self._held_log = held_log
        self._epoch = epoch
        self._bounds = bounds
        state = store.state
        self._any = self._untaken = state.held > 0
        self._seen = self._persisted = state.considered
        self._under = self._persisted_under = state.held_under
        self._to_judge: list[Offset] = []
        self._reopened: list[Events] = []
        self._on_their_way: set[Offset] = set()
        self.n_gathered = 0
        """Events to be held that the cursor has passed and that are not in the store yet."""
        self.dead: list[Dead] = []
        """Events that processes have died of, to be written as dead letters with the next commit."""

    @property
    def any(self) -> bool:
        """Whether any event waits for a decision, or is on its way after one."""
        return self._any or self.n_gathered > 0 or self._lanes.settlement.n_held > 0

    @property
    def more(self) -> bool:
        """Whether events wait that must go out before newer ones."""
        return bool(self._to_judge or self._untaken or self._reopened)

    @property
    def busy(self) -> bool:
        """Whether it goes on at once with what it began."""
        return bool(self._to_judge) or (self.more and self._has_room)

    @property
    def is_due(self) -> bool:
        """Whether the ledger has changed since held events were judged, as of the gate's last `refresh`."""
        return self.any and (self._gate.ledger.version != self._seen or self._under != self._gate.under)

    def holds(self, rows: Sequence[HeldRow]) -> Holds:
        """These events, to be written with the cursor that passes them."""
        self._any = True
        if self._to_judge:  # not judged by what is seen now, which another process must learn
            return Holds(rows, self._persisted, self._persisted_under, self._bounds)
        return Holds(rows, self._seen, self._gate.under, self._bounds)

    def catch_up(self) -> bool:
        """Judge what the ledger has changed and give the lanes what may go; whether newer events may follow.

        Everything that is to be held and that the cursor has passed must be in the store.
        """
        if self.is_due:
            self._find()
        elif not self.any:
            self._seen, self._under = self._gate.ledger.version, self._gate.under
        self._judge_some()
        self._take_some()
        return not self.more

    def expire(self) -> None:
        """Give up what has waited for too long, and what the log has let go of; some of it at a time."""
        if not self._any or self.is_due or self._to_judge:
            return
        offsets = self._store.held.expired(arrived_before_ms=self._gate.expired_before_ms(), limit=EXPIRE_AT_A_TIME)
        gone = [o for o in self._store.held.before(self._log.tail(), limit=AT_A_TIME) if o not in self._on_their_way]
        denied = dict.fromkeys(offsets, Reason.HOLD_EXPIRED.value)
        for offset in gone:
            denied.pop(offset, None)
        if denied or gone:
            versions = dict.fromkeys(denied, self._seen)
            self._store.settle_held(self._epoch, HeldChanges(denied=denied, gone=gone, versions=versions))
            self._any = self._store.state.held > 0

    def settled(self, ended: Aside) -> None:
        """These have been written to the store."""
        self._on_their_way.difference_update(ended.delivered, ended.denied, [dead.offset for dead in ended.dead])
        self._any = self._store.state.held > 0

    # -- judging ----------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Which held events the ledger's changes may concern."""
        ledger = self._gate.ledger
        version = ledger.version  # looking people up may move it on, past changes that were not asked for here
        keys = None if self._under != self._gate.under else ledger.changed_since(self._seen)
        numbers = None if keys is None else {number_of(key) for key in keys}
        self._judge_unpassed(numbers)
        found = self._store.held.of(numbers) if self._any else []
        self._to_judge = sorted({*self._to_judge, *found}.difference(self._on_their_way))
        self._seen, self._under = version, self._gate.under

    def _judge_unpassed(self, numbers: set[int] | None) -> None:
        """The same for those that the cursor has not passed yet: the log is where they wait."""
        settlement = self._lanes.settlement
        offsets = settlement.held(numbers) if settlement.n_held else []
        if not offsets:
            return
        judged = self._held_log.judge(offsets)
        events, unhad = self._held_log.events(judged.allowed)
        settlement.reopen(events.offsets)
        if len(events):
            self._reopened.append(events)
        for one in (judged, unhad):
            for offset, reason in one.denied.items():
                settlement.end_hold(offset, reason, one.versions[offset])
            for offset in one.gone:
                settlement.lose_hold(offset, damaged=False)
            for offset in one.damaged:
                settlement.lose_hold(offset, damaged=True)

    def _judge_some(self) -> None:
        if not self._to_judge:
            return
        some, rest = self._to_judge[:AT_A_TIME], self._to_judge[AT_A_TIME:]
        judged = self._held_log.judge(some)
        considered = None if rest else self._seen
        is_news = not rest and (self._persisted, self._persisted_under) != (self._seen, self._under)
        if judged or is_news:
            self._change(judged, considered)
        self._to_judge = rest
        self._untaken = self._untaken or bool(judged.allowed)

    def _change(self, judged: Judged, considered: int | None) -> None:
        changes = HeldChanges(
            denied=judged.denied,
            gone=judged.gone,
            damaged=judged.damaged,
            released=judged.allowed,
            considered=considered,
            under=self._under,
            versions=judged.versions,
        )
        if changes:
            self._store.settle_held(self._epoch, changes)
            if considered is not None:
                self._persisted, self._persisted_under = considered, self._under
            self._any = self._store.state.held > 0

    # -- letting go -------------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return self._lanes.n_released < LANES

    def _take_some(self) -> None:
        """Give the lanes the oldest events that may go, those that the cursor has passed first."""
        if self._untaken and self._has_room:
            limit = AT_A_TIME + len(self._on_their_way)
            found = self._store.held.released(limit=limit)
            fresh = {offset: deaths for offset, deaths in found.items() if offset not in self._on_their_way}
            n_had = self._release(fresh) if fresh else 0
            self._untaken = len(found) == limit or n_had < len(fresh)
        if self._reopened and not self._untaken and not self._to_judge:
            for events in self._reopened:
                self._lanes.release(events, Origin.LOG)
            self._reopened = []

    def _release(self, fresh: dict[Offset, int]) -> int:
        """Give these to the lanes, as many as fit into memory; return how many are dealt with.

        Where a process has died of one of them they go one by one, and one of a second death does not go any more.
        """
        careful = any(fresh.values())
        offsets = list(fresh)[:CAREFUL_AT_A_TIME] if careful else list(fresh)
        events, unhad = self._held_log.events(offsets, max_bytes=MAX_BYTES)
        n_had = len(events) + len(unhad)
        if unhad:
            self._change(unhad, None)
        self._on_their_way.update(events.offsets)
        doomed = bytes([fresh[offset] >= DEATHS_TO_BURY for offset in events.offsets])
        if any(doomed):
            self._bury(events.select(doomed), fresh)
            events = events.select(bytes([not one for one in doomed]))
        self._lanes.release(events, Origin.HELD, careful=careful)
        return n_had

    def _bury(self, events: Events, deaths: dict[Offset, int]) -> None:
        now = time.monotonic()
        for run in events.runs:
            for offset, message_id, raw in zip(run.offsets, run.message_ids, run.raws, strict=True):
                self.dead.append(
                    Dead(offset, message_id, raw, DIED_TWICE, deaths[offset], now, now, Stage.CRASHED, DIED_TWICE)
                )
