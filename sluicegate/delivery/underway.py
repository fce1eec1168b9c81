"""The lanes on their way, in the order in which they began.

Pure. A lane owns the subjects of its events; where two share one, the older goes first.
"""

from __future__ import annotations

import math
from collections.abc import Set
from itertools import takewhile

from sluicegate.delivery.lane import Lane, Origin, PendingRetry

MAX_ALONE = 1_000
"""Events that fail by themselves and take no room from others: 32 MB at the most."""


class Underway:
    """Lanes whose events are neither delivered nor dead, whether a call of theirs runs or not."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.n_away = 0
        """Their events; what had to wait does not count, it takes no room from what is read from the log."""

    @property
    def n_running(self) -> int:
        """Calls that have not ended."""
        return sum(1 for lane in self.lanes if lane.running)

    def n_alone(self, *, released: bool) -> int:
        """Lanes of events that had to wait, or of others, that take no room: their next event fails by itself."""
        alone = [lane for lane in self.lanes if lane.fails_alone and (lane.origin is Origin.HELD) == released]
        return min(MAX_ALONE, len(alone))

    @property
    def n_released(self) -> int:
        """Lanes of events that had to wait, without those whose next event fails by itself."""
        return sum(1 for lane in self.lanes if lane.origin is Origin.HELD) - self.n_alone(released=True)

    @property
    def are_from_log(self) -> bool:
        """Whether none of them had to wait or is a replay."""
        return all(lane.origin is Origin.LOG for lane in self.lanes)

    @property
    def letters(self) -> Set[int]:
        """The ids of the dead letters among their events."""
        parts = [part for lane in self.lanes if lane.replay for part in lane.parts]
        return {id_ for part in parts for id_ in part.events.offsets}

    @property
    def careful(self) -> bool:
        """Whether one of them may end the process; what has only failed so often would have ended it."""
        return any(lane.careful and not lane.fails_alone for lane in self.lanes)

    @property
    def youngest_start(self) -> float:
        """When the newest call that runs began; in the infinite past when none does."""
        return max((lane.started for lane in self.lanes if lane.running), default=-math.inf)

    def add(self, lane: Lane) -> Lane:
        """Begin a lane, as the last one."""
        self.lanes.append(lane)
        self.leave(lane, -sum(len(part.events) for part in lane.parts))
        return lane

    def leave(self, lane: Lane, n_events: int) -> None:
        """So many events of a lane are not on their way any more."""
        if lane.origin is not Origin.HELD:
            self.n_away -= n_events

    def split_off(self, lane: Lane) -> None:
        """Let what need not wait for a lane's first event go on without it."""
        released = lane.release()
        if released is not None:
            self.lanes.insert(self.lanes.index(lane) + 1, released)

    def hasten(self, due: float) -> None:
        """Let no lane wait longer than until then: each may be the probe."""
        for lane in self.lanes:
            lane.due = min(lane.due, due)

    def retries(self, first: int, clock: float) -> list[PendingRetry]:
        """What is to be remembered of the lanes of the log that have failed, which are numbered from `first` on."""
        found: list[PendingRetry] = []
        for number, lane in enumerate(self.lanes, first):
            lane.remembered = lane.origin is Origin.LOG and any(part.first_error for part in lane.parts)
            if lane.remembered:
                found += [part.as_retry(number, clock) for part in lane.parts]
        return found

    def waiting(self, now: float) -> list[Lane]:
        """The lanes whose next call may go out as far as they themselves go."""
        return [lane for lane in self.lanes if not lane.running and lane.due <= now and not self._is_behind(lane)]

    def _is_behind(self, lane: Lane) -> bool:
        """Whether a lane waits for one before it, with which it shares a slot; then it is a recovered one."""
        if lane.behind:
            before = takewhile(lambda one: one is not lane, self.lanes)
            lane.behind = any(not one.replay and not one.slots.isdisjoint(lane.slots) for one in before)
        return lane.behind
