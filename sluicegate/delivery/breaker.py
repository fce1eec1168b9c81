"""The circuit breaker of one destination: when most calls fail, nothing goes out for a while.

Pure: `now` is in seconds on one monotonic clock. The numbers are resilience4j's, but for the least number of calls,
which suits destinations with little traffic (resilience4j.readme.io/docs/circuitbreaker).

    closed      calls go out; opens when half of the last 100 have failed, and at least 10 were made
    open        nothing goes out for 60 s, doubling with every failed probe to 300 s
    half_open   one call at a time: one event, then 2, 4, ...; closed after 10 successes, open again after one failure
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum

from sluicegate.delivery.restraint import Outage

WINDOW_CALLS = 100
MIN_CALLS = 10
FAILED_SHARE = 0.5
OPEN_S = 60.0
OPEN_CAP_S = 300.0
CLOSING_SUCCESSES = 10
ALONE_FAILURES = 8
"""As many as it takes to give an event up."""


class BreakerState(StrEnum):
    """Whether calls go out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Told how every call ended; says whether calls may go out and how large they may be.

    `max_events` is the size of a full batch. A **general outage** is one in which more than one event has failed since
    the last success: a single event that fails again and again may be the vendor's trouble with that event alone. What
    failed before it proves nothing any more once it was the only one to be tried `ALONE_FAILURES` times.
    """

    def __init__(self, max_events: int) -> None:
        self.state = BreakerState.CLOSED
        self.until = -math.inf
        """When an open breaker lets out its first event."""
        self._max_events = max_events
        self._window = deque[bool](maxlen=WINDOW_CALLS)
        self._open_s = OPEN_S
        self._opened_at = 0.0
        self._allowance = 1
        self._successes = 0
        self._failed: int | None = None
        self._in_a_row = 0
        self._general = False
        self._stopped_s = 0.0

    @property
    def max_events(self) -> int:
        """The most events that the next call may have."""
        return self._allowance if self.state is BreakerState.HALF_OPEN else self._max_events

    @property
    def failures(self) -> tuple[int, int]:
        """How many of the last calls have failed, and of how many."""
        return self._window.count(False), len(self._window)

    @property
    def general(self) -> bool:
        """Whether more than one event fails, and nothing has succeeded since."""
        return self._general

    @property
    def suspects_one_event(self) -> bool:
        """Whether all that has failed since the last success is one event."""
        return self._failed is not None and not self._general

    @property
    def outage(self) -> Outage | None:
        """What the next process has to know of it; None when it is closed."""
        if self.state is BreakerState.CLOSED:
            return None
        return Outage(self.until, self._open_s, self._general)

    def resume(self, outage: Outage, *, now: float) -> None:
        """Go on where an earlier process ended; one that was half-open begins with a single event again."""
        self._open_s = min(max(outage.open_s, OPEN_S), OPEN_CAP_S)
        self._general = outage.general
        self._open(now)
        self.until = min(outage.until, self.until)  # by a clock that was set back it would be long

    def admits(self, now: float) -> bool:
        """Whether a call may go out; an open breaker whose time is over becomes half-open."""
        if self.state is BreakerState.OPEN and now >= self.until:
            self._stopped_s = self.stopped_s(now)
            self.state = BreakerState.HALF_OPEN
            self._allowance, self._successes = 1, 0
        return self.state is not BreakerState.OPEN

    def stopped_s(self, now: float) -> float:
        """Seconds of general outage in which it was open: time that no event is to be blamed for."""
        if self.state is BreakerState.OPEN and self._general:
            return self._stopped_s + max(0.0, now - self._opened_at)
        return self._stopped_s

    def succeeded(self) -> None:
        """A call was answered, be it by a refusal of its events."""
        self._failed, self._general = None, False
        if self.state is BreakerState.CLOSED:
            self._window.append(True)
        elif self.state is BreakerState.HALF_OPEN:
            self._successes += 1
            if self._successes >= CLOSING_SUCCESSES or self._allowance >= self._max_events:
                self._close()
            else:
                self._allowance = min(2 * self._allowance, self._max_events)

    def failed(self, first_offset: int, *, now: float) -> None:
        """A call failed in a way that may pass; `first_offset` is that of its first event."""
        self._in_a_row = self._in_a_row + 1 if first_offset == self._failed else 1
        others_failed = self._general or self._failed not in (None, first_offset)
        self._general = others_failed and self._in_a_row < ALONE_FAILURES
        self._failed = first_offset
        if self.state is BreakerState.HALF_OPEN:
            self._open_s = min(2 * self._open_s, OPEN_CAP_S)
            self._open(now)
        elif self.state is BreakerState.CLOSED:
            self._window.append(False)
            n_failed, n_calls = self.failures
            if n_calls >= MIN_CALLS and n_failed >= FAILED_SHARE * n_calls:
                self._open(now)

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._opened_at, self.until = now, now + self._open_s

    def _close(self) -> None:
        self.state = BreakerState.CLOSED
        self._window.clear()
        self._open_s = OPEN_S
