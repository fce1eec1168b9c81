"""Events that wait for their first call: when they go out, and in how many calls.

Pure. One call at a time takes them in log order; calls beside others take the events of subjects that no lane owns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Set

from sluicegate.config.declaration import Limits
from sluicegate.delivery.backlog import Backlog
from sluicegate.delivery.lane import Lane, Part
from sluicegate.delivery.pace import Pace
from sluicegate.delivery.underway import Underway

SHARE_AFTER_S = 0.025
"""While a call runs, less than half a batch waits this long for company before it gets a call of its own."""
MAX_WAITING = 16
"""Lanes that may wait besides those that may run and those that fail alone, so that fresh events get by."""


class Fresh:
    """Makes lanes of what is in the backlog."""

    def __init__(self, backlog: Backlog, limits: Limits, pace: Pace) -> None:
        self.gathers_since: float | None = None
        """Since when events have been waiting until they fill a call."""
        self._backlog = backlog
        self._limits = limits
        self._pace = pace

    def is_ripe(self, now: float) -> bool:
        """Whether fresh events may go out: at once, unless they are to wait until they fill a call."""
        if not self._limits.age_s:
            return True
        if self.gathers_since is None:
            self.gathers_since = now
        return now >= self.gathers_since + self._limits.age_s or self._n_calls(len(self._backlog)) >= 1

    def dues(self, underway: Underway, now: float) -> list[float]:
        """When more of them may go out although nothing else happens."""
        times = [underway.youngest_start + SHARE_AFTER_S]
        if self.gathers_since is not None:
            times.append(self.gathers_since + self._limits.age_s)
        if self._pace.limited:
            times.append(self._pace.fresh_at(self._size(), now))
        return times

    def take(self, underway: Underway, now: float, room: int) -> list[Lane]:
        """Lanes for at most `room` calls, to be added to those underway; a fast vendor gets one call at a time."""
        n_lanes = len(underway.lanes) - underway.n_alone(released=False) - underway.n_alone(released=True)
        room = min(room, self._limits.in_flight + MAX_WAITING - n_lanes)
        size = self._size()
        if self._pace.limited:
            room = min(room, int(self._pace.fresh_at(size, now) <= now))
        if room <= 0:
            return []
        lanes = [lane for lane in underway.lanes if not lane.replay]
        if not lanes:
            n_calls = self._n_calls(len(self._backlog))
            if n_calls <= 1 or self._pace.fast or room == 1:
                events = self._backlog.take_head(size)
                return [Lane(deque([Part(events)]), scattered=events.runs[0].offsets[0] <= self._backlog.parted_to)]
            return self._groups(min(room, math.ceil(n_calls)), frozenset(), size)
        patient = now < underway.youngest_start + SHARE_AFTER_S
        if patient and (self._pace.fast or self._n_calls(len(self._backlog)) < 0.5):
            return []
        busy = frozenset[int]().union(*(lane.slots for lane in lanes))
        n_calls = self._n_calls(self._backlog.count_free(busy))
        if not n_calls or (patient and n_calls < 0.5):
            return []
        return self._groups(1 if self._pace.fast else min(room, math.ceil(n_calls)), busy, size)

    def _groups(self, n_groups: int, busy: Set[int], size: int) -> list[Lane]:
        return [
            Lane(deque([Part(events)]), known_slots=slots, scattered=True)
            for events, slots in self._backlog.take_groups(n_groups, busy, size)
        ]

    def _size(self) -> int:
        """How many events the next new call may have."""
        most = self._pace.breaker.max_events
        return min(len(self._backlog), most) if self._pace.limited else most

    def _n_calls(self, n_events: int) -> float:
        share = n_events / max(1, len(self._backlog))
        return max(n_events / self._limits.max_events, share * self._backlog.n_bytes / self._limits.max_bytes)
