"""The calls of `deliver`: in threads or in place, each one visible while it runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from sluicegate import failpoints
from sluicegate.delivery.lane import Work
from sluicegate.delivery.result import Result, error_in_texts, in_texts
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has ended, at a monotonic time: None for delivered, else the outcome or what was raised."""

    work: Work
    result: Result
    at: float


class Calls:
    """Runs calls; `submit` and `ended` belong to one thread, `oldest_s` to any.

    `entered` is called by each call as it begins, in its thread.
    """

    def __init__(
        self,
        deliver: Callable[[Batch], object],
        *,
        name: str,
        wake: Callable[[], object],
        entered: Callable[[], object] = lambda: None,
    ) -> None:
        self._entered = entered
        self._deliver = deliver
        self._name = name
        self._wake = wake
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._ended: deque[Ended] = deque()
        self._started: dict[Work, float] = {}
        self._n_threads = 0
        self.n_running = 0
        """Submitted calls that `ended` has not returned yet."""

    def run(self, work: Work) -> Ended:
        """Make the call in this thread."""
        self._started[work] = time.monotonic()
        result: Result = None
        self._entered()
        try:
            returned = self._deliver(work.batch)
            result = in_texts(returned) if isinstance(returned, Outcome) else None
            if failpoints.ARMED:
                failpoints.hit(failpoints.Point.AFTER_POST)
        except BaseException as raised:  # a plugin may raise SystemExit too, and must not end its thread
            result = error_in_texts(raised)
        finally:
            del self._started[work]
        return Ended(work, result, time.monotonic())

    def submit(self, work: Work) -> None:
        """Make the call in a thread of the pool, which grows as needed; `wake` tells of its end."""
        self.n_running += 1
        if self.n_running > self._n_threads:
            self._n_threads += 1
            name = f"{self._name}-call-{self._n_threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._queue.put(work)

    def ended(self) -> Iterator[Ended]:
        """The submitted calls that have ended since the last look; those that are not taken are there at the next."""
        while self._ended:
            self.n_running -= 1
            yield self._ended.popleft()

    def oldest_s(self) -> float:
        """How long the oldest running call has been running, in seconds; 0 when none runs."""
        started = list(self._started.values())  # one step, so that other threads may go on changing it
        return time.monotonic() - min(started) if started else 0.0

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._n_threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            self._ended.append(self.run(work))
            self._wake()
