"""Which events go out in which call, and what follows from how a call ended.

Pure: threads, clock and disk are the worker's. A **lane** is one batch on its way, from its first call until each of
its events is delivered or dead; it owns the subjects of its events for as long, so a subject's events are never in two
calls at once and never overtake each other, through retries, bisection and partial rejections. A lane may consist of
several **parts** (bisection makes them), which go out one after the other.

Events are `fresh` until their first call, `underway` while a lane has them, and then among the `outcomes`. When calls
may go out is `pace`'s to say, what may be in them the `gate`'s.
"""

from __future__ import annotations

import math
import random as _random
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial

from sluicegate.backoff import backoff_s
from sluicegate.config.declaration import Limits
from sluicegate.delivery.backlog import Backlog, calls_of, slots_of
from sluicegate.delivery.breaker import Breaker, BreakerState
from sluicegate.delivery.fresh import Fresh
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.lane import SPLIT_ATTEMPTS, Lane, Origin, Part, PendingRetry, Work
from sluicegate.delivery.outcomes import REDACTED_REFUSED, Outcomes
from sluicegate.delivery.pace import Pace
from sluicegate.delivery.plugin import error_text
from sluicegate.delivery.read_ahead import ReadAhead
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.restraint import Restraint
from sluicegate.delivery.result import Result, checked
from sluicegate.delivery.settlement import Aside, Progress
from sluicegate.delivery.underway import Underway
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import ConsentUnreadable, CredentialsRefused, Rejected, Retry
from sluicegate.eventlog.runs import Events

RETRY_BASE_S = 1.0
RETRY_CAP_S = 300.0
LOOK_AGAIN_S = 1.0
"""Wait before the ledger is read again that could not be read."""
MAX_SPAN = 1_000_000
"""Offsets between the cursor and the last one read: what passes a failing event, be it delivered or denied."""


class Lanes:
    """The events between the cursor and what was read of the log, and the calls that deliver them."""

    def __init__(
        self,
        cursor: int,
        limits: Limits,
        *,
        rate_per_s: float | None = None,
        recovery: Recovery | None = None,
        gate: Gate | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        remembered = None if recovery is None else recovery.remembered
        self._outcomes = Outcomes(cursor, remembered)
        self.settlement = self._outcomes.settlement
        self.halted: str | None = None
        """Why the vendor refuses us as a whole; nothing goes out any more."""
        self.blocked: str | None = None
        """Why nobody knows what may go out; nothing does until that is known again."""
        self.gate = gate
        self._emptied = False
        self._pace = Pace(limits.max_events, rate_per_s)
        if recovery is not None and recovery.restraint is not None:
            self._pace.resume(recovery.restraint, now=recovery.began_at)
        self._limits = replace(limits, max_events=self._pace.max_events)
        self._random = random
        self._backlog = Backlog(max_events=self._limits.max_events, max_bytes=limits.max_bytes)
        self._backlog.parted_to = 0 if remembered is None else remembered.last
        self._calls_of = partial(calls_of, max_events=self._limits.max_events, max_bytes=limits.max_bytes)
        self._fresh = Fresh(self._backlog, self._limits, self._pace)
        self._recovery = recovery if recovery is not None and recovery.pending else None
        self._underway = Underway()
        self.read_ahead = ReadAhead(self._backlog, self._limits, self._pace, self._underway)
        self._retries_changed = False
        self._repeated_last = False
        """Whether the last call was a repeated one: then it is the turn of fresh events, which it may hold up again."""

    # Filling

    @property
    def wants_more(self) -> bool:
        """Whether more should be read from the log."""
        room = self.read_ahead
        return room.room_events > 0 and room.room_bytes > 0 and len(self.settlement) < MAX_SPAN

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs, or is still to be committed."""
        return not self._underway.lanes and not len(self._backlog) and not len(self.settlement)

    @property
    def has_waiting(self) -> bool:
        """Whether there are events that are in no call now."""
        return bool(len(self._backlog)) or any(not lane.running for lane in self._underway.lanes)

    @property
    def fast(self) -> bool:
        """Whether the vendor answers so fast that one call at a time is best."""
        return self._pace.fast

    @property
    def breaker(self) -> Breaker:
        """Whether calls go out at all."""
        return self._pace.breaker

    @property
    def rests_until(self) -> float:
        """When an outage of the vendor lets the next call out, -inf when none keeps calls back.

        Nor does it rest, for all that a stop should mind, while events from elsewhere than the log are under way: how
        often those have failed is not kept, so that another process would begin with the same one again.
        """
        rests = self.breaker.state is BreakerState.OPEN and self._underway.are_from_log
        return self.breaker.until if rests else -math.inf

    def restraint(self, now: float) -> Restraint:
        """What the next process has to know of when calls may go out."""
        return self._pace.restraint(now)

    @property
    def version(self) -> int:
        """The version of the ledger by which is decided now; 0 when there is none."""
        return 0 if self.gate is None else self.gate.ledger.version

    def add(self, states: bytes, events: Events) -> None:
        """Add the offsets after the last known one; `events` has those whose state is unfinished."""
        self.settlement.extend(states, self.version)
        events = self._outcomes.take_dead(events, self.version)
        if self._recovery is not None:
            events = self._recover(self._recovery, events)
        self._backlog.extend(events)

    def expire(self, count: int) -> None:
        """Add offsets that are no longer in the log."""
        if count > 0:
            self.settlement.expire(count)
            self._recover_known()

    def lose(self, count: int) -> None:
        """Add offsets whose events cannot be read any more."""
        self.settlement.lose(count)
        self._recover_known()

    def add_replays(self, events: Events) -> None:
        """Deliver dead letters again, as a lane of their own that has no place in the order of the log."""
        parts = deque(map(Part, self._calls_of(events)))
        if parts:
            self._underway.add(Lane(parts, Origin.LETTERS))

    @property
    def letters(self) -> Set[int]:
        """The ids of dead letters whose replay has not ended."""
        return self._underway.letters

    @property
    def has_replayed(self) -> bool:
        """Whether `aside` has not told of the end of a replay yet."""
        return self._outcomes.has_replayed

    def release(self, events: Events, origin: Origin, *, careful: bool = False) -> None:
        """Deliver events that had to wait, before all newer ones of their subjects that are in no call; they ascend.

        Those from the log have been reopened, and go behind older ones that wait. `careful` ones are in calls of their
        own, and nothing else goes out then.
        """
        if origin is Origin.LOG:
            self._backlog.merge(events)
            return
        if careful:
            groups = [events.slice(index, index + 1) for index in range(len(events))]
        else:
            slots, n_groups = slots_of(events.subjects), 1 if self._pace.fast else self._limits.in_flight
            groups = [events.select(bytes([slot % n_groups == group for slot in slots])) for group in range(n_groups)]
        for group in groups:
            parts = deque(map(Part, self._calls_of(group)))
            if parts:
                self._underway.add(Lane(parts, origin, behind=True, careful=careful, scattered=True))

    @property
    def n_released(self) -> int:
        """Lanes of events that had to wait, without those whose next event fails by itself."""
        return self._underway.n_released

    def _recover_known(self) -> None:
        """Let go of what an earlier process had on its way when no event of it comes any more."""
        if self._recovery is not None:
            self._recover(self._recovery, Events())

    def _recover(self, recovery: Recovery, events: Events) -> Events:
        """Put what an earlier process had on its way into lanes again; return the other events."""
        self._backlog.part(events)
        rest, dead, redacted = recovery.divert(events)
        for one in dead:
            self.settlement.bury(one, self.version)
        for offset in redacted:
            self.settlement.deny(offset, REDACTED_REFUSED, self.version)
        for lane in sorted(recovery.ready(self.settlement.last, self._calls_of), key=Lane.first_offset):
            self._underway.add(lane)
        if not recovery.pending:
            self._recovery = None
        return rest

    # Going out

    def next_batches(self, now: float) -> list[Work]:
        """The calls to start now; never more than may run at a time."""
        if self.halted is not None or now < self._pace.not_before or not self.breaker.admits(now):
            return []
        if not self.has_waiting or not self._is_open():
            return []
        self._emptied = False
        works = self._next_batches(now)
        while self._emptied:  # what may not go out any more made room
            self._emptied = False
            works += self._next_batches(now)
        return works

    def _is_open(self) -> bool:
        self.blocked = None
        try:
            if self.gate is not None:
                self.gate.refresh()
        except ConsentUnreadable as error:
            self.blocked = str(error)
        return self.blocked is None

    def _next_batches(self, now: float) -> list[Work]:
        if self.blocked is not None:
            return []
        if self._pace.probing:
            return self._probe(now)
        room = (1 if self.careful else self._limits.in_flight) - self._underway.n_running
        turns = [self._start_waiting, self._start_fresh]
        if self._repeated_last and not self.careful:
            turns.reverse()
        works: list[Work] = []
        for start in turns:
            works += start(now, room - len(works))
        return works

    def _start_waiting(self, now: float, room: int) -> list[Work]:
        """Calls of lanes whose time has come, the one that has had none for the longest time first."""
        works: list[Work] = []
        waiting = self._underway.waiting(now) if self._underway.lanes else ()
        for lane in sorted(waiting, key=lambda lane: (not lane.careful, lane.started)):
            if len(works) < room and self._may_start(lane, now):
                works.append(self._start(lane, now))
        return works

    def _start_fresh(self, now: float, room: int) -> list[Work]:
        """Calls of events that have been in none."""
        if not len(self._backlog) or not self._fresh.is_ripe(now):
            return []
        lanes = self._new_lanes(now, room)
        self._fresh.gathers_since = None if lanes else self._fresh.gathers_since
        return [self._start(lane, now) for lane in lanes if self._may_start(lane, now)]

    def next_due(self, now: float) -> float:
        """When `next_batches`, last asked at `now`, has more although nothing else happens; infinity for never."""
        if self.halted is not None:
            return math.inf
        if self.blocked is not None:
            return now + LOOK_AGAIN_S
        if self.breaker.state is BreakerState.OPEN:
            return max(self.breaker.until, self._pace.not_before)
        if now < self._pace.not_before:
            return self._pace.not_before if self.has_waiting else math.inf
        times = [self._pace.retry_at(lane, now) for lane in self._underway.lanes if not lane.running]
        if len(self._backlog):
            times += self._fresh.dues(self._underway, now)
        return min((time for time in times if time > now), default=math.inf)

    @property
    def careful(self) -> bool:
        """Whether only one call may run, because one of the next may end the process."""
        waits = self._recovery is not None and self._recovery.careful
        return waits or self._underway.careful

    def _probe(self, now: float) -> list[Work]:
        """One call: of fresh events, which nobody suspects, or in a general outage of what has failed least."""
        if self._underway.n_running:
            return []
        waiting = self._underway.waiting(now)
        lane = min(waiting, key=lambda lane: (lane.fails_alone, lane.parts[0].attempts), default=None)
        tired = lane is None or lane.parts[0].attempts >= SPLIT_ATTEMPTS or not self.breaker.general
        if tired and (len(self._backlog) or not self.wants_more):
            fresh = next(iter(self._new_lanes(now, 1)), None) if len(self._backlog) else None
            if fresh is None and lane is not None and lane.fails_alone:
                lane = self._to_blame(waiting) or lane
            lane = fresh or lane
        if lane is None:
            return []
        lane.split_first(self.breaker.max_events)
        return [self._start(lane, now)] if self._may_start(lane, now) else []

    def _to_blame(self, lanes: Sequence[Lane]) -> Lane | None:
        """The one to stay with when all others wait for events that fail: others went through since it failed first."""
        passed = [lane for lane in lanes if self._pace.has_answered_since(lane.parts[0])]
        return max(passed, key=lambda lane: lane.parts[0].attempts, default=None)

    def _new_lanes(self, now: float, room: int) -> list[Lane]:
        return [self._underway.add(lane) for lane in self._fresh.take(self._underway, now, room)]

    def _may_start(self, lane: Lane, now: float) -> bool:
        """Whether the next call of a lane may go out, without the events that may not go any more."""
        if self.gate is not None and not self._sift(self.gate, lane):
            return False
        return self._pace.start(lane, now)

    def _sift(self, gate: Gate, lane: Lane) -> bool:
        """Settle what may not go out any more; whether anything is left."""
        if self.blocked is not None:  # a lane before this one could not be looked up
            return False
        try:
            while lane.parts and (refused := gate.refused(lane.parts[0])):
                self._underway.leave(lane, self._outcomes.refuse(lane, refused, self.version))
                self._retries_changed = self._retries_changed or lane.remembered
        except ConsentUnreadable as error:
            self.blocked = str(error)
            return False
        if not lane.parts:
            self._underway.lanes.remove(lane)
            self._emptied = True
        return bool(lane.parts)

    def _start(self, lane: Lane, now: float) -> Work:
        """The one place where a batch goes out, fresh or again."""
        part = lane.parts[0]
        self._repeated_last = part.attempts > 0
        part.attempts += 1
        if part.attempts == 1:
            part.first_attempt = now
        lane.running, lane.started, lane.version = True, now, self.version
        events = part.events if self.gate is None else self.gate.outgoing(part.events)
        return Work(lane, Batch.of(events, part.attempts))

    # Coming back

    def complete(self, work: Work, result: Result, *, now: float) -> None:
        """Take note of how a call ended."""
        lane, result = work.lane, checked(result, len(work.batch))
        lane.running = False
        self._retries_changed = self._retries_changed or lane.remembered
        if isinstance(result, CredentialsRefused):
            self.halted = self.halted or str(result)
            return
        if isinstance(result, Outcome):
            self._settle(lane, result, now)
        elif isinstance(result, Rejected):
            self._pace.answered(lane, now)
            lane.parts.extendleft(reversed(lane.parts.popleft().halves()))
        elif result is not None:
            self._postpone(lane, result, now)
        else:
            self._pace.answered(lane, now)
            self._deliver(lane, lane.parts.popleft().events)
        if not lane.parts:
            self._underway.lanes.remove(lane)

    def _settle(self, lane: Lane, outcome: Outcome, now: float) -> None:
        """Settle what the outcome says, event by event, and send what it wants again."""
        part = lane.parts.popleft()
        failure = outcome.failure()
        for index in sorted(outcome.rejected):
            refusal = Rejected(outcome.rejected[index])
            refusal.status, refusal.response = outcome.status, outcome.response
            self._outcomes.bury(lane, part, index, outcome.rejected[index], refusal, now)
        self._outcomes.skip(lane, part.events, outcome.skipped)
        self._underway.leave(lane, len(outcome.rejected) + len(outcome.skipped))
        named = {*outcome.rejected, *outcome.skipped, *outcome.again}
        self._deliver(lane, part.without(named).events)
        if outcome.again:
            lane.parts.appendleft(part.only(outcome.again))
            lane.known_slots, lane.scattered = None, True
        if outcome.again and isinstance(failure, Retry):
            self._postpone(lane, failure, now)
        else:
            self._pace.answered(lane, now)

    def _deliver(self, lane: Lane, events: Events) -> None:
        self._underway.leave(lane, len(events))
        self._outcomes.deliver(lane, events)
        if self.gate is not None:
            with suppress(ConsentUnreadable):  # it only counts, and the call has ended whatever the ledger says
                self.gate.note_delivered(events)

    def _postpone(self, lane: Lane, error: BaseException, now: float) -> None:
        asked_s = self._pace.failed(lane, error, now)
        part = lane.parts[0]
        text = error_text(error)
        part.failed(text, began=self._pace.clock(lane.started))
        part.failed_alone = len(part.events) == 1 and not lane.throttled
        if asked_s is None:
            asked_s = backoff_s(lane.failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, random=self._random)
        lane.due = now + asked_s
        lane.failures += 1
        self._retries_changed = True
        if len(part.events) > 1 and part.attempts >= SPLIT_ATTEMPTS and not lane.throttled:
            lane.parts.popleft()
            lane.parts.extendleft(reversed(part.halves()))
        elif self._pace.gives_up(lane, now):
            lane.parts.popleft()
            self._underway.leave(lane, 1)
            self._outcomes.bury(lane, part, 0, f"given up after {part.attempts} attempts: {text}", error, now)
            for behind in lane.parts:
                behind.failing_s, behind.since = 0.0, self._pace.clock(now)  # it was the one before that failed
        elif len(part.events) == 1 and part.attempts > SPLIT_ATTEMPTS:
            self._underway.split_off(lane)
        if self.breaker.state is BreakerState.OPEN:
            self._underway.hasten(self.breaker.until)

    # Accounts

    def progress(self) -> Progress:
        """What has been settled in one piece from the cursor on, since the last call."""
        return self.settlement.advance()

    def aside(self, origin: Origin) -> Aside:
        """How events ended that are not settled by the cursor, since the last call."""
        return self._outcomes.take_aside(origin)

    def retries(self, now: float, *, anyway: bool = False) -> list[PendingRetry] | None:
        """What is to be remembered of the events that have failed; None when nothing of it has changed."""
        if not (self._retries_changed or (anyway and any(lane.remembered for lane in self._underway.lanes))):
            return None
        self._retries_changed = False
        found = [] if self._recovery is None else self._recovery.held_retries()
        n_held = max((retry.lane + 1 for retry in found), default=0)
        return found + self._underway.retries(n_held, self._pace.clock(now))
