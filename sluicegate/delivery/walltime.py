"""Between the monotonic times that delivery counts in and the Unix times that are stored."""

from __future__ import annotations

import time


def wall_ms(monotonic_s: float) -> int:
    """A monotonic time as Unix milliseconds, by the wall clock of now."""
    return round((time.time() - time.monotonic() + monotonic_s) * 1000)


def monotonic_s(unix_ms: int) -> float:
    """Unix milliseconds as a monotonic time, by the wall clock of now; of an earlier boot it may be negative."""
    return unix_ms / 1000 - time.time() + time.monotonic()
