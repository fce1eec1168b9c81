"""Drives `Lanes` with a virtual clock and a scripted vendor."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lane import Work
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.result import Result
from sluicegate.delivery.settlement import DELIVERED, Progress
from sluicegate.destinations.base import Batch
from sluicegate.eventlog.runs import Events

Vendor = Callable[[Batch, float], Result]


class Harness:
    """`n` events, of which `denied` (by index) may not go out; calls take `duration_s()`."""

    def __init__(
        self,
        vendor: Vendor,
        *,
        limits: Limits,
        subjects: list[str],
        denied: frozenset[int] = frozenset(),
        duration_s: Callable[[], float] = lambda: 0.05,
        seed: int = 0,
        cursor: int = 0,
        recovery: Recovery | None = None,
        rate_per_s: float | None = None,
    ) -> None:
        self.lanes = Lanes(cursor, limits, rate_per_s=rate_per_s, recovery=recovery, random=Random(seed).random)
        self.vendor = vendor
        self.limits = limits
        self.subjects = subjects
        self.denied = denied
        self.duration_s = duration_s
        self.now = 0.0
        self.added = cursor
        self.running: list[tuple[float, int, Work]] = []
        self.calls: list[tuple[float, list[int]]] = []
        self.retries: list[float] = []
        """When calls went out that were not their events' first."""
        self.total = Progress(cursor)
        self.busy_subjects: set[str] = set()
        self.delivered: list[int] = []
        self.last_call: list[int] = []
        self._ids = itertools.count()

    def run(self, *, max_s: float = 1e9) -> Progress:
        """To the end of the events, to a halt, or to the end of the time."""
        while self.now < max_s and not self._done():
            self.feed()
            self.dispatch()
            self.account()
            if self.added < len(self.subjects) and self.lanes.wants_more:
                continue  # what has been settled has made room
            next_end = self.running[0][0] if self.running else float("inf")
            self.now = min(next_end, self.lanes.next_due(self.now))
            if self.now == float("inf"):
                break
            self.end_calls()
        self.account()
        return self.total

    def feed(self) -> None:
        while self.added < len(self.subjects) and self.lanes.wants_more:
            stop = min(len(self.subjects), self.added + 17)
            indices = range(self.added, stop)
            marks = self.lanes.settlement.marks(self.added + 1, len(indices))
            known = {self.added + place for place, mark in enumerate(marks) if mark}
            code = self.lanes.settlement.code("no")
            states = bytes(DELIVERED if i in known else code * (i in self.denied) for i in indices)
            allowed = [i for i in indices if not states[i - self.added]]
            self.lanes.add(
                states,
                Events.of(
                    [i + 1 for i in allowed],
                    [f"m{i + 1}" for i in allowed],
                    [self.subjects[i] for i in allowed],
                    [b"x" * (i % 40 + 1) for i in allowed],
                ),
            )
            self.added = stop

    def dispatch(self) -> None:
        for work in self.lanes.next_batches(self.now):
            batch = work.batch
            subjects = {self.subjects[offset - 1] for offset in batch.offsets}
            assert 0 < len(batch) <= self.limits.max_events
            assert sum(map(len, batch.raws)) <= self.limits.max_bytes or len(batch) == 1
            assert not subjects & self.busy_subjects, "a subject is in two calls"
            self.busy_subjects |= subjects
            self.calls.append((self.now, list(batch.offsets)))
            if batch.attempt > 1:
                self.retries.append(self.now)
            heapq.heappush(self.running, (self.now + self.duration_s(), next(self._ids), work))
        assert len(self.running) <= self.limits.in_flight

    def end_calls(self) -> None:
        while self.running and self.running[0][0] <= self.now:
            _, _, work = heapq.heappop(self.running)
            self.last_call = work.batch.offsets
            error = self.vendor(work.batch, self.now)
            if error is None:
                self.delivered += work.batch.offsets
            self.busy_subjects -= {self.subjects[offset - 1] for offset in work.batch.offsets}
            self.lanes.complete(work, error, now=self.now)

    def account(self) -> None:
        before = self.total.cursor
        progress = self.lanes.progress()
        assert progress.cursor >= before
        assert len(progress) == progress.cursor - before
        self.total.add(progress)

    def _done(self) -> bool:
        return self.added == len(self.subjects) and self.lanes.idle
