"""Which events go out in which call, and what follows from how a call ended.

Pure: threads, clock and disk are the worker's. A **lane** is one batch on its way, from its first call until each of
its events is delivered or dead; it owns the subjects of its events for as long, so a subject's events are never in two
calls at once and never overtake each other, through retries, bisection and partial rejections. A lane may consist of
several **parts** (bisection makes them), which go out one after the other.
"""

from __future__ import annotations

import math
import random as _random
from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import cast

from sluicegate.backoff import backoff_s
from sluicegate.config.declaration import Limits
from sluicegate.delivery.backlog import Backlog, slots_of
from sluicegate.delivery.settlement import Dead, Progress, Settlement
from sluicegate.destinations.base import Batch
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from sluicegate.eventlog.runs import Events

RETRY_BASE_S = 1.0
RETRY_CAP_S = 300.0
RETRY_AFTER_CAP_S = 3600.0
"""Longest wait that a vendor may ask for."""
GIVE_UP_AFTER_S = 24 * 3600.0
GIVE_UP_ATTEMPTS = 8
"""An event is given up after both this many attempts and this time: either alone gives up too early."""
SPLIT_ATTEMPTS = 5
"""From this attempt on a batch that fails is halved: it isolates an event that breaks the vendor, and a vendor that
comes back gets 1, 2, 4, ... events instead of everything at once."""
FAST_S = 0.02
"""Calls shorter than this go out one at a time: more at a time would only cost threads."""
SHARE_AFTER_S = 0.025
"""While a call runs, less than half a batch waits this long for company before it gets a call of its own."""
MAX_SPAN = 1_000_000
"""Offsets between the cursor and the last one read; only denials behind a failing event ever make so many."""


@dataclass(slots=True)
class Part:
    """Events that go out in one call."""

    events: Events
    attempts: int = 0
    first_attempt: float = 0.0

    def halves(self) -> tuple[Part, Part]:
        """The older and the newer half; both have been tried as often as the whole."""
        middle = (len(self.events) + 1) // 2
        older, newer = self.events.slice(0, middle), self.events.slice(middle, len(self.events))
        return Part(older, self.attempts, self.first_attempt), Part(newer, self.attempts, self.first_attempt)


@dataclass(slots=True, eq=False)
class Lane:
    """A batch on its way: its parts in order, and when the first may go out."""

    parts: deque[Part]
    replay: bool = False
    running: bool = False
    started: float = 0.0
    due: float = -math.inf
    failures: int = 0
    known_slots: Set[int] | None = None

    @property
    def slots(self) -> Set[int]:
        """The slots it owns."""
        if self.known_slots is None:
            self.known_slots = {slot for part in self.parts for slot in slots_of(part.events.subjects)}
        return self.known_slots


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One call to make: `deliver(batch)`."""

    lane: Lane
    batch: Batch


class Lanes:
    """The events between the cursor and what was read of the log, and the calls that deliver them."""

    def __init__(self, cursor: int, limits: Limits, *, random: Callable[[], float] = _random.random) -> None:
        self.settlement = Settlement(cursor)
        self.halted: str | None = None
        """Why the vendor refuses us as a whole; nothing goes out any more."""
        self._limits = limits
        self._random = random
        self._backlog = Backlog(max_events=limits.max_events, max_bytes=limits.max_bytes)
        self._lanes: list[Lane] = []
        self._n_away = 0
        self._not_before = -math.inf
        self._service_s = math.inf
        self._replayed: list[int] = []
        self._buried_again: list[Dead] = []

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

    def add(self, states: bytes, events: Events) -> None:
        """Add the offsets after the last known one; `events` has those whose state is unfinished."""
        self.settlement.extend(states)
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
        queue = Backlog(max_events=self._limits.max_events, max_bytes=self._limits.max_bytes)
        queue.extend(events)
        parts = deque[Part]()
        while len(queue):
            parts.append(Part(queue.take_head()))
        if parts:
            self._add_lane(parts, replay=True)

    @property
    def replaying(self) -> bool:
        """Whether a replay has not ended, or `replays` has not told of its end."""
        return bool(self._replayed or self._buried_again) or any(lane.replay for lane in self._lanes)

    # Going out

    def next_batches(self, now: float) -> list[Work]:
        """The calls to start now; never more than may run at a time."""
        if self.halted is not None:
            return []
        room = self._limits.in_flight - self.n_running
        due = [lane for lane in self._lanes if not lane.running and lane.due <= now][: max(0, room)]
        works = [self._start(lane, now) for lane in due]
        if len(self._backlog) and now >= self._not_before:
            for events, slots in self._new_batches(now, room - len(works)):
                works.append(self._start(self._add_lane(deque([Part(events)]), slots=slots), now))
        return works

    def next_due(self, now: float) -> float:
        """When `next_batches`, last asked at `now`, has more although nothing else happens; infinity for never."""
        if self.halted is not None:
            return math.inf
        times = [lane.due for lane in self._lanes if not lane.running]
        if len(self._backlog):
            times += [self._not_before, self._youngest_start() + SHARE_AFTER_S]
        return min((time for time in times if time > now), default=math.inf)

    def _new_batches(self, now: float, room: int) -> list[tuple[Events, Set[int] | None]]:
        lanes = [lane for lane in self._lanes if not lane.replay]
        room = min(room, self._limits.in_flight - len(lanes))
        if room <= 0:
            return []
        if not lanes:
            n_calls = self._n_calls(len(self._backlog))
            if n_calls <= 1 or self.fast or room == 1:
                return [(self._backlog.take_head(), None)]
            return [*self._backlog.take_groups(min(room, math.ceil(n_calls)), frozenset())]
        patient = self.n_running > 0 and now < self._youngest_start() + SHARE_AFTER_S
        if patient and (self.fast or self._n_calls(len(self._backlog)) < 0.5):
            return []
        busy = frozenset[int]().union(*(lane.slots for lane in lanes))
        n_calls = self._n_calls(self._backlog.count_free(busy))
        if not n_calls or (patient and n_calls < 0.5):
            return []
        return [*self._backlog.take_groups(1 if self.fast else min(room, math.ceil(n_calls)), busy)]

    def _n_calls(self, n_events: int) -> float:
        share = n_events / max(1, len(self._backlog))
        return max(n_events / self._limits.max_events, share * self._backlog.n_bytes / self._limits.max_bytes)

    def _youngest_start(self) -> float:
        return max((lane.started for lane in self._lanes if lane.running), default=-math.inf)

    def _add_lane(self, parts: deque[Part], *, replay: bool = False, slots: Set[int] | None = None) -> Lane:
        lane = Lane(parts, replay=replay, known_slots=slots)
        self._lanes.append(lane)
        self._n_away += sum(len(part.events) for part in parts)
        return lane

    def _start(self, lane: Lane, now: float) -> Work:
        part = lane.parts[0]
        part.attempts += 1
        if part.attempts == 1:
            part.first_attempt = now
        lane.running, lane.started = True, now
        return Work(lane, Batch.of(part.events, part.attempts))

    # Coming back

    def complete(self, work: Work, error: BaseException | None, *, now: float) -> None:
        """Take note of how a call ended: None for delivered, else what it raised."""
        lane = work.lane
        part = lane.parts.popleft()
        lane.running = False
        match error:
            case None:
                duration = now - lane.started
                self._service_s = duration if self._service_s == math.inf else 0.8 * self._service_s + 0.2 * duration
                lane.failures = 0
                self._deliver(lane, part.events)
            case CredentialsRefused():
                self.halted = self.halted or str(error)
                lane.parts.appendleft(part)
            case Rejected(reasons=str()):
                self._refuse(lane, part, str(error), now)
            case Rejected():
                self._refuse_some(lane, part, error, now)
            case _:
                self._postpone(lane, part, error, now)
        if not lane.parts:
            self._lanes.remove(lane)

    def _deliver(self, lane: Lane, events: Events) -> None:
        self._n_away -= len(events)
        if lane.replay:
            self._replayed += events.offsets
        else:
            for run in events.runs:
                self.settlement.deliver(run.offsets)

    def _refuse(self, lane: Lane, part: Part, reason: str, now: float) -> None:
        lane.failures = 0
        if len(part.events) == 1:
            self._bury(lane, part, 0, reason, now)
        else:
            lane.parts.extendleft(reversed(part.halves()))

    def _refuse_some(self, lane: Lane, part: Part, error: Rejected, now: float) -> None:
        n_events = len(part.events)
        reasons = dict(cast(Mapping[int, str], error.reasons))
        bad = {index: reason for index, reason in reasons.items() if 0 <= index < n_events}
        if len(bad) < len(reasons) or not bad:
            text = f"the plugin rejected events {sorted(reasons)} of a batch of {n_events}"
            return self._postpone(lane, part, Retry(text), now)
        lane.failures = 0
        rest = part.events.select(bytes([index not in bad for index in range(n_events)]))
        for index in sorted(bad):
            self._bury(lane, part, index, str(bad[index]), now)
        if error.rest_delivered:
            self._deliver(lane, rest)
        elif len(rest):
            lane.parts.appendleft(Part(rest, part.attempts, part.first_attempt))

    def _postpone(self, lane: Lane, part: Part, error: BaseException, now: float) -> None:
        asked = error.after_s if isinstance(error, Retry) else None
        if asked is not None and 0 <= asked < math.inf:
            wait = min(asked, RETRY_AFTER_CAP_S)
            self._not_before = max(self._not_before, now + wait)
        else:
            wait = backoff_s(lane.failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, random=self._random)
        part.events = part.events.compact()  # it may be long until it goes
        lane.due = now + wait
        lane.failures += 1
        if len(part.events) > 1 and part.attempts >= SPLIT_ATTEMPTS:
            lane.parts.extendleft(reversed(part.halves()))
        elif (
            part.attempts >= GIVE_UP_ATTEMPTS and now - part.first_attempt >= GIVE_UP_AFTER_S and len(part.events) == 1
        ):
            self._bury(lane, part, 0, f"given up after {part.attempts} attempts: {error}", now)
        else:
            lane.parts.appendleft(part)

    def _bury(self, lane: Lane, part: Part, index: int, reason: str, now: float) -> None:
        one = part.events.slice(index, index + 1)
        (offset,), (message_id,), raw = one.offsets, one.message_ids, one.joined()
        dead = Dead(offset, message_id, raw, reason, part.attempts, part.first_attempt, now)
        self._n_away -= 1
        if lane.replay:
            self._buried_again.append(dead)
        else:
            self.settlement.bury(dead)

    # Accounts

    def progress(self) -> Progress:
        """What has been settled in one piece from the cursor on, since the last call."""
        return self.settlement.advance()

    def replays(self) -> tuple[list[int], list[Dead]]:
        """Ids of the replayed letters that were delivered, and those that are dead again, since the last call."""
        settled = self._replayed, self._buried_again
        self._replayed, self._buried_again = [], []
        return settled
