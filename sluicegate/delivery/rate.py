"""The rate limit of one destination, in events per second.

Pure: `now` is in seconds on one monotonic clock. A token bucket that holds one second's worth, and one event at least:
in any stretch of t seconds at most (1 + t) * `per_s` events go out. It says when a call may start and never picks its
events, so it has no say in their order.
"""

from __future__ import annotations

import math

_ROUNDING = 1e-6


class RateLimit:
    """At most `per_s` events a second."""

    def __init__(self, per_s: float) -> None:
        self._capacity = max(1.0, per_s)
        self._per_s = per_s
        self._tokens = self._capacity
        self._at = -math.inf

    @property
    def max_events(self) -> int:
        """The largest call that can ever go out."""
        return int(self._capacity + _ROUNDING)

    def ready_at(self, n_events: int, *, now: float) -> float:
        """When so many events, of which at most `max_events` count, may go out."""
        missing = min(n_events, self.max_events) - self._left(now)
        return now if missing <= _ROUNDING else now + missing / self._per_s

    def take(self, n_events: int, *, now: float) -> None:
        """So many events go out."""
        self._tokens, self._at = self._left(now) - n_events, max(now, self._at)

    def _left(self, now: float) -> float:
        return min(self._capacity, self._tokens + max(0.0, now - self._at) * self._per_s)
