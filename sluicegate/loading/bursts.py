"""How many processes may be started at a time: each start takes its owner milliseconds in which it answers nobody."""

from __future__ import annotations

BURST = 3
BURST_S = 0.06
"""At most `BURST` starts in `BURST_S`."""


class Bursts:
    """Counts the starts of the burst that is under way. Pure; `now` is in seconds."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._left = BURST

    def begin(self, now: float) -> None:
        """Starts are wanted now: a new burst begins if the last one is over."""
        if now >= self._ends_at:
            self._ends_at, self._left = now + BURST_S, BURST

    def take(self) -> bool:
        """Whether one more may start; it is counted."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def next_at(self) -> float | None:
        """When more may start; None when they may now."""
        return None if self._left else self._ends_at
