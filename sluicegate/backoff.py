"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable


def backoff_s(attempt: int, *, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Seconds to wait after failure number `attempt` (from 0): exponential, with full jitter.

    The wait is drawn evenly from 0 to `base_s * 2**attempt`, at most `cap_s`, which spreads those that failed together
    better than any other jitter (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter). `random` returns
    numbers in [0, 1), as `random.random` does.
    """
    doublings = min(max(attempt, 0), 62)  # 2**62 base units are past every cap, and still a float
    return random() * min(cap_s, base_s * 2.0**doublings)
