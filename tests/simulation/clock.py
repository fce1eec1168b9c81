"""The virtual clock: everything that happens is a step that was scheduled, and the seed decides between equals."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

MAX_STEPS_AT_ONCE = 3_000
"""So many steps at one moment of virtual time: somebody asks to be called again and again."""


class Violation(AssertionError):
    """A rule of the product was broken; the seed replays it."""


class Trace:
    """What happened, one line a step; kept only when somebody wants to read it."""

    def __init__(self, *, on: bool = False) -> None:
        self.on = on
        self.lines: list[str] = []

    def say(self, now: float, text: str) -> None:
        if self.on:
            self.lines.append(f"{now:12.4f}  {text}")


class Timer:
    """A step that is to come."""

    __slots__ = ("at", "call", "what")

    def __init__(self, at: float, what: str, call: Callable[[], object]) -> None:
        self.at = at
        self.what = what
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """Virtual time, in seconds from 0, and the steps to come."""

    def __init__(self, random: Random, trace: Trace) -> None:
        self.now = 0.0
        self.n_steps = 0
        self._random = random.random
        self._trace = trace
        self._heap: list[tuple[float, float, Timer]] = []
        self._n_at_once = 0
        self._moment = -1.0

    def after(self, delay_s: float, what: str, call: Callable[[], object]) -> Timer:
        """Have something done later; among steps of the same moment chance decides."""
        timer = Timer(self.now + max(delay_s, 0.0), what, call)
        heapq.heappush(self._heap, (timer.at, self._random(), timer))
        return timer

    def leap(self, seconds: float) -> None:
        """The machine was asleep: all that was due meanwhile is late."""
        self.now += seconds

    def next_at(self) -> float | None:
        """When the next step is due."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def step(self) -> bool:
        """Take the next step; false when there is none."""
        if self.next_at() is None:
            return False
        timer = heapq.heappop(self._heap)[2]
        self.now = max(self.now, timer.at)
        self.n_steps += 1
        self._watch_progress(timer)
        if self._trace.on and timer.what:
            self._trace.say(self.now, timer.what)
        call, timer.call = timer.call, None
        assert call is not None
        call()
        return True

    def _watch_progress(self, timer: Timer) -> None:
        if self.now != self._moment:
            self._moment, self._n_at_once = self.now, 0
        self._n_at_once += 1
        if self._n_at_once > MAX_STEPS_AT_ONCE:
            raise Violation(f"time stands still: {timer.what!r} again and again")
