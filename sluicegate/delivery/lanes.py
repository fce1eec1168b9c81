"""Which events go out in which call, and what follows from how a call ended.

Pure: threads, clock and disk are the worker's. A **lane** is one batch on its way, from its first call until each of
its events is delivered or dead; it owns the subjects of its events for as long, so a subject's events are never in two
calls at once and never overtake each other, through retries, bisection and partial rejections. A lane may consist of
several **parts** (bisection makes them), which go out one after the other. When calls may go out is `pace`'s to say.
"""

from __future__ import annotations

import math
import random as _random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from itertools import takewhile

from sluicegate.backoff import backoff_s
from sluicegate.config.declaration import Limits
from sluicegate.consent.standing import ERASED
from sluicegate.delivery.backlog import Backlog, slots_of
from sluicegate.delivery.breaker import Breaker, BreakerState
from sluicegate.delivery.gate import REDACT, Gate
from sluicegate.delivery.lane import Lane, Origin, Part, PendingRetry, Work
from sluicegate.delivery.pace import Pace
from sluicegate.delivery.plugin import error_text
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.result import Result, checked
from sluicegate.delivery.settlement import Aside, Dead, Progress, Settlement, Stage
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import ConsentUnreadable, CredentialsRefused, DestinationError, Rejected, Retry
from sluicegate.eventlog.runs import Events

RETRY_BASE_S = 1.0
RETRY_CAP_S = 300.0
SPLIT_ATTEMPTS = 5
"""From this attempt on a batch that fails is halved: it isolates an event that breaks the vendor."""
FAST_S = 0.02
"""Calls shorter than this go out one at a time: more at a time would only cost threads."""
SHARE_AFTER_S = 0.025
"""While a call runs, less than half a batch waits this long for company before it gets a call of its own."""
LOOK_AGAIN_S = 1.0
"""Wait before the ledger is read again that could not be read."""
MAX_SPAN = 1_000_000
"""Offsets between the cursor and the last one read; only denials behind a failing event make so many."""
MAX_REASON_CHARS = 100
"""Of the reason for which a destination leaves an event out; it is the name of a counter."""
REDACTED_REFUSED = "redacted_refused"
"""The reason of events that went redacted and were not taken so: no dead letters, which would keep a person's event
that refused."""
MAX_WAITING = 16
"""Lanes that may wait besides those that may run, so that fresh events get by."""


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
        self.settlement = Settlement(cursor)
        self.halted: str | None = None
        """Why the vendor refuses us as a whole; nothing goes out any more."""
        self.blocked: str | None = None
        """Why nobody knows what may go out; nothing does until that is known again."""
        self.gate = gate
        self._emptied = False
        self._pace = Pace(limits.max_events, rate_per_s)
        self._limits = replace(limits, max_events=self._pace.max_events)
        self._random = random
        self._backlog = self._new_backlog()
        self._recovery = recovery if recovery is not None and recovery.pending else None
        self._lanes: list[Lane] = []
        self._n_away = 0
        self._gathers_since: float | None = None
        self._service_s = math.inf
        self._aside: dict[Origin, Aside] = {Origin.LETTERS: Aside(), Origin.HELD: Aside()}
        self._retries_changed = False

    # Filling

    @property
    def room_events(self) -> int:
        """Events that may still be read from the log."""
        return self._read_ahead * self._limits.max_events - len(self._backlog) - self._n_away

    @property
    def room_bytes(self) -> int:
        """The same in bytes of events that wait for a call."""
        return self._read_ahead * self._limits.max_bytes - self._backlog.n_bytes

    @property
    def _read_ahead(self) -> int:
        """Calls to keep events for: two for each that may run.

        While one runs at a time, two are kept, which the processor's cache can hold.
        """
        one_at_a_time = (self.fast or self._service_s == math.inf) and self.n_running == len(self._lanes)
        return 2 if one_at_a_time else 2 * self._limits.in_flight

    @property
    def wants_more(self) -> bool:
        """Whether more should be read from the log."""
        return self.room_events > 0 and self.room_bytes > 0 and len(self.settlement) < MAX_SPAN

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs, or is still to be committed."""
        return not self._lanes and not len(self._backlog) and not len(self.settlement)

    @property
    def has_waiting(self) -> bool:
        """Whether there are events that are in no call now."""
        return bool(len(self._backlog)) or any(not lane.running for lane in self._lanes)

    @property
    def fast(self) -> bool:
        """Whether the vendor answers so fast that one call at a time is best."""
        return self._service_s < FAST_S

    @property
    def n_running(self) -> int:
        """Calls that have not ended."""
        return sum(1 for lane in self._lanes if lane.running)

    @property
    def breaker(self) -> Breaker:
        """Whether calls go out at all."""
        return self._pace.breaker

    @property
    def version(self) -> int:
        """The version of the ledger by which is decided now; 0 when there is none."""
        return 0 if self.gate is None else self.gate.ledger.version

    def add(self, states: bytes, events: Events) -> None:
        """Add the offsets after the last known one; `events` has those whose state is unfinished."""
        self.settlement.extend(states, self.version)
        if self._recovery is not None:
            events = self._recover(self._recovery, events)
        self._backlog.extend(events)

    def expire(self, count: int) -> None:
        """Add offsets that are no longer in the log."""
        if count > 0:
            self.settlement.expire(count)

    def lose(self, count: int) -> None:
        """Add offsets whose events cannot be read any more."""
        self.settlement.lose(count)

    def add_replays(self, events: Events) -> None:
        """Deliver dead letters again, as a lane of their own that has no place in the order of the log."""
        parts = deque(map(Part, self._calls_of(events)))
        if parts:
            self._add_lane(Lane(parts, Origin.LETTERS))

    @property
    def replaying(self) -> bool:
        """Whether a replay has not ended, or `aside` has not told of its end."""
        return bool(self._aside[Origin.LETTERS]) or any(lane.replay for lane in self._lanes)

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
            slots, n_groups = slots_of(events.subjects), 1 if self.fast else self._limits.in_flight
            groups = [events.select(bytes([slot % n_groups == group for slot in slots])) for group in range(n_groups)]
        for group in groups:
            parts = deque(map(Part, self._calls_of(group)))
            if parts:
                self._add_lane(Lane(parts, origin, behind=True, careful=careful, scattered=True))

    @property
    def n_released(self) -> int:
        """Lanes of events that had to wait."""
        return sum(1 for lane in self._lanes if lane.origin is Origin.HELD)

    def _recover(self, recovery: Recovery, events: Events) -> Events:
        """Put what an earlier process had on its way into lanes again; return the other events."""
        rest, dead = recovery.divert(events)
        for one in dead:
            self.settlement.bury(one, self.version)
        for lane in sorted(recovery.ready(self.settlement.last, self._calls_of), key=Lane.first_offset):
            self._add_lane(lane)
        if not recovery.pending:
            self._recovery = None
        return rest

    def _is_behind(self, lane: Lane) -> bool:
        """Whether a lane waits for one before it, with which it shares a slot; then it is a recovered one."""
        if lane.behind:
            before = takewhile(lambda one: one is not lane, self._lanes)
            lane.behind = any(not one.replay and not one.slots.isdisjoint(lane.slots) for one in before)
        return lane.behind

    def _calls_of(self, events: Events) -> Iterable[Events]:
        queue = self._new_backlog()
        queue.extend(events)
        while len(queue):
            yield queue.take_head()

    def _new_backlog(self) -> Backlog:
        return Backlog(max_events=self._limits.max_events, max_bytes=self._limits.max_bytes)

    # Going out

    def next_batches(self, now: float) -> list[Work]:
        """The calls to start now; never more than may run at a time."""
        admitted = self.halted is None and self.breaker.admits(now)
        if not admitted or not self.has_waiting or not self._is_open():
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
        room = (1 if self.careful else self._limits.in_flight) - self.n_running
        works: list[Work] = []
        for lane in sorted(self._waiting(now), key=lambda lane: not lane.careful) if self._lanes else ():
            if len(works) < room and self._may_start(lane, now):
                works.append(self._start(lane, now))
        if len(self._backlog) and now >= self._pace.not_before and self._is_ripe(now):
            lanes = self._new_lanes(now, room - len(works))
            self._gathers_since = None if lanes else self._gathers_since
            for lane in lanes:
                if self._may_start(lane, now):
                    works.append(self._start(lane, now))
        return works

    def _is_ripe(self, now: float) -> bool:
        """Whether fresh events may go out: at once, unless they are to wait until they fill a call."""
        if not self._limits.age_s:
            return True
        if self._gathers_since is None:
            self._gathers_since = now
        return now >= self._gathers_since + self._limits.age_s or self._n_calls(len(self._backlog)) >= 1

    def next_due(self, now: float) -> float:
        """When `next_batches`, last asked at `now`, has more although nothing else happens; infinity for never."""
        if self.halted is not None:
            return math.inf
        if self.blocked is not None:
            return now + LOOK_AGAIN_S
        if self.breaker.state is BreakerState.OPEN:
            return self.breaker.until
        times = [self._pace.retry_at(lane, now) for lane in self._lanes if not lane.running]
        if len(self._backlog):
            times += [self._pace.not_before, self._youngest_start() + SHARE_AFTER_S]
            if self._gathers_since is not None:
                times.append(self._gathers_since + self._limits.age_s)
            if self._pace.limited:
                times.append(self._pace.fresh_at(self._fresh_size(), now))
        return min((time for time in times if time > now), default=math.inf)

    @property
    def careful(self) -> bool:
        """Whether only one call may run, because one of the next may end the process."""
        waits = self._recovery is not None and self._recovery.careful
        return waits or any(lane.careful for lane in self._lanes)

    def _waiting(self, now: float) -> list[Lane]:
        return [lane for lane in self._lanes if not lane.running and lane.due <= now and not self._is_behind(lane)]

    def _probe(self, now: float) -> list[Work]:
        """One call: of fresh events, which nobody suspects, or in a general outage of what has failed least."""
        if self.n_running:
            return []
        lane = min(self._waiting(now), key=lambda lane: lane.parts[0].attempts, default=None)
        tired = lane is None or lane.parts[0].attempts >= SPLIT_ATTEMPTS or not self.breaker.general
        if tired and now >= self._pace.not_before and len(self._backlog):
            lane = next(iter(self._new_lanes(now, 1)), lane)
        if lane is None:
            return []
        lane.split_first(self.breaker.max_events)
        return [self._start(lane, now)] if self._may_start(lane, now) else []

    def _new_lanes(self, now: float, room: int) -> list[Lane]:
        room = min(room, self._limits.in_flight + MAX_WAITING - len(self._lanes))
        size = self._fresh_size()
        if self._pace.limited:
            room = min(room, int(self._pace.fresh_at(size, now) <= now))
        if room <= 0:
            return []
        lanes = [lane for lane in self._lanes if not lane.replay]
        if not lanes:
            n_calls = self._n_calls(len(self._backlog))
            if n_calls <= 1 or self.fast or room == 1:
                return [self._add_lane(Lane(deque([Part(self._backlog.take_head(size))])))]
            return self._group_lanes(min(room, math.ceil(n_calls)), frozenset(), size)
        patient = self.n_running > 0 and now < self._youngest_start() + SHARE_AFTER_S
        if patient and (self.fast or self._n_calls(len(self._backlog)) < 0.5):
            return []
        busy = frozenset[int]().union(*(lane.slots for lane in lanes))
        n_calls = self._n_calls(self._backlog.count_free(busy))
        if not n_calls or (patient and n_calls < 0.5):
            return []
        return self._group_lanes(1 if self.fast else min(room, math.ceil(n_calls)), busy, size)

    def _group_lanes(self, n_groups: int, busy: Set[int], size: int) -> list[Lane]:
        return [
            self._add_lane(Lane(deque([Part(events)]), known_slots=slots, scattered=True))
            for events, slots in self._backlog.take_groups(n_groups, busy, size)
        ]

    def _fresh_size(self) -> int:
        """How many events the next new call may have."""
        return min(len(self._backlog), self.breaker.max_events) if self._pace.limited else self.breaker.max_events

    def _n_calls(self, n_events: int) -> float:
        share = n_events / max(1, len(self._backlog))
        return max(n_events / self._limits.max_events, share * self._backlog.n_bytes / self._limits.max_bytes)

    def _youngest_start(self) -> float:
        return max((lane.started for lane in self._lanes if lane.running), default=-math.inf)

    def _add_lane(self, lane: Lane) -> Lane:
        self._lanes.append(lane)
        self._leave(lane, -sum(len(part.events) for part in lane.parts))
        return lane

    def _leave(self, lane: Lane, n_events: int) -> None:
        """So many are not on their way any more; what had to wait takes no room from what is read from the log."""
        if lane.origin is not Origin.HELD:
            self._n_away -= n_events

    def _may_start(self, lane: Lane, now: float) -> bool:
        """Whether the next call of a lane may go out, without the events that may not go any more."""
        if self.gate is not None and not self._sift(self.gate, lane):
            return False
        return self._pace.start(lane, now)

    def _sift(self, gate: Gate, lane: Lane) -> bool:
        """Settle what may not go out any more; whether anything is left."""
        try:
            while lane.parts and (refused := gate.refused(lane.parts[0])):
                self._deny(lane, refused)
        except ConsentUnreadable as error:
            self.blocked = str(error)
            return False
        if not lane.parts:
            self._lanes.remove(lane)
            self._emptied = True
        return bool(lane.parts)

    def _deny(self, lane: Lane, refused: Mapping[int, str]) -> None:
        part = lane.parts.popleft()
        if to_redact := {index for index, reason in refused.items() if reason == REDACT}:
            part = part.of(part.events.marked(bytes([i in to_redact for i in range(len(part.events))])))
            refused = {index: reason for index, reason in refused.items() if index not in to_redact}
        offsets = part.events.offsets
        for index, reason in refused.items():
            self._note_denial(lane, offsets[index], reason, self.version)
        self._leave(lane, len(refused))
        self._retries_changed = self._retries_changed or lane.remembered
        lane.scattered = True
        if part.first_error and ERASED in refused.values():
            part.first_error = ERASED  # a vendor's words may quote what is erased
        rest = part.events.select(bytes([index not in refused for index in range(len(offsets))]))
        if len(rest):
            lane.parts.appendleft(part.of(rest))

    def _start(self, lane: Lane, now: float) -> Work:
        """The one place where a batch goes out, fresh or again."""
        part = lane.parts[0]
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
            self._answered(lane, now)
            lane.parts.extendleft(reversed(lane.parts.popleft().halves()))
        elif result is not None:
            self._postpone(lane, result, now)
        else:
            self._answered(lane, now)
            self._deliver(lane, lane.parts.popleft().events)
        if not lane.parts:
            self._lanes.remove(lane)

    def _answered(self, lane: Lane, now: float) -> None:
        self._pace.answered(lane, now)
        lane.failures = 0
        duration_s = now - lane.started
        self._service_s = duration_s if self._service_s == math.inf else 0.8 * self._service_s + 0.2 * duration_s

    def _settle(self, lane: Lane, outcome: Outcome, now: float) -> None:
        """Settle what the outcome says, event by event, and send what it wants again."""
        part = lane.parts.popleft()
        failure = outcome.failure()
        for index in sorted(outcome.rejected):
            refusal = Rejected(outcome.rejected[index])
            refusal.status, refusal.response = outcome.status, outcome.response
            self._bury(lane, part, index, outcome.rejected[index], refusal, now)
        self._skip(lane, part.events, outcome.skipped)
        indices = range(len(part.events))
        named = {*outcome.rejected, *outcome.skipped, *outcome.again}
        self._deliver(lane, part.events.select(bytes([index not in named for index in indices])))
        if outcome.again:
            lane.parts.appendleft(part.of(part.events.select(bytes([index in outcome.again for index in indices]))))
            lane.known_slots, lane.scattered = None, True
        if outcome.again and isinstance(failure, Retry):
            self._postpone(lane, failure, now)
        else:
            self._answered(lane, now)

    def _skip(self, lane: Lane, events: Events, reasons: Mapping[int, str]) -> None:
        """Count these as denied by the destination itself."""
        self._leave(lane, len(reasons))
        offsets = events.offsets if reasons else []
        for index, reason in reasons.items():
            self._note_denial(lane, offsets[index], reason[:MAX_REASON_CHARS], lane.version)

    def _note_denial(self, lane: Lane, offset: int, reason: str, version: int) -> None:
        if lane.origin is Origin.LOG:
            self.settlement.deny(offset, reason, version)
        else:
            self._aside[lane.origin].deny(offset, reason, version)

    def _deliver(self, lane: Lane, events: Events) -> None:
        self._leave(lane, len(events))
        if lane.origin is not Origin.LOG:
            aside = self._aside[lane.origin]
            aside.deliver(events.offsets, lane.version)
            aside.redacted += sum(run.n_events for run in events.runs if run.redact)
        else:
            for run in events.runs:
                self.settlement.deliver(run.offsets, lane.version)
                if run.redact:
                    self.settlement.note_redacted(run.offsets)
        if self.gate is not None:
            self.gate.note_delivered(events)

    def _postpone(self, lane: Lane, error: BaseException, now: float) -> None:
        asked_s = self._pace.failed(lane, error, now)
        part = lane.parts[0]
        text = error_text(error)
        part.first_error = part.first_error or text
        if part.since is None:
            part.since = self._pace.clock(lane.started)
        part.events = part.events.compact()  # it may be long until it goes
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
            self._bury(lane, part, 0, f"given up after {part.attempts} attempts: {text}", error, now)
            for behind in lane.parts:
                behind.failing_s, behind.since = 0.0, self._pace.clock(now)  # it was the one before that failed
        elif len(part.events) == 1 and part.attempts > SPLIT_ATTEMPTS and not self.breaker.general:
            released = lane.release()
            if released is not None:
                self._lanes.insert(self._lanes.index(lane) + 1, released)
        if self.breaker.state is BreakerState.OPEN:
            due = max(self.breaker.until, self._pace.not_before)
            for waiting in self._lanes:
                waiting.due = min(waiting.due, due)  # all may be the probe

    def _bury(self, lane: Lane, part: Part, index: int, reason: str, error: BaseException, now: float) -> None:
        one = part.events.slice(index, index + 1)
        if one.runs[0].redact:
            self._leave(lane, 1)
            self._note_denial(lane, one.offsets[0], REDACTED_REFUSED, lane.version)
            return
        (offset,), (message_id,), raw = one.offsets, one.message_ids, one.joined()
        answer = error if isinstance(error, DestinationError) else DestinationError()
        stage = Stage.REJECTED if isinstance(error, Rejected) else Stage.GIVEN_UP
        story = stage, part.first_error or reason, answer.status, answer.response
        dead = Dead(offset, message_id, raw, reason, part.attempts, part.first_attempt, now, *story)
        self._leave(lane, 1)
        if lane.origin is not Origin.LOG:
            self._aside[lane.origin].bury(dead, lane.version)
        else:
            self.settlement.bury(dead, lane.version)

    # Accounts

    def progress(self) -> Progress:
        """What has been settled in one piece from the cursor on, since the last call."""
        return self.settlement.advance()

    def aside(self, origin: Origin) -> Aside:
        """How events ended that are not settled by the cursor, since the last call."""
        settled, self._aside[origin] = self._aside[origin], Aside()
        return settled

    def retries(self, now: float, *, anyway: bool = False) -> list[PendingRetry] | None:
        """What is to be remembered of the events that have failed; None when nothing of it has changed."""
        if not (self._retries_changed or (anyway and any(lane.remembered for lane in self._lanes))):
            return None
        self._retries_changed = False
        found = [] if self._recovery is None else self._recovery.held_retries()
        n_held = max((retry.lane + 1 for retry in found), default=0)
        for number, lane in enumerate(self._lanes, n_held):
            lane.remembered = lane.origin is Origin.LOG and any(part.first_error for part in lane.parts)
            if lane.remembered:
                found += [part.as_retry(number, self._pace.clock(now)) for part in lane.parts]
        return found
