"""The retry budget of one destination: how many calls may be repeated before some succeed again.

Pure: `now` is in seconds on one monotonic clock. Only retries pay, so fresh events never wait for tokens. Capacity and
costs are those of the AWS SDKs (docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html). Time refills the
bucket as well, slowly: a destination whose every event has failed would otherwise wait for ever.
"""

from __future__ import annotations

CAPACITY = 500.0
TRANSIENT_COST = 14
THROTTLED_COST = 5
FRESH_GAIN = 1
REFILL_PER_S = 1.0
_ROUNDING = 1e-6


class RetryBudget:
    """A bucket of tokens, full at first."""

    def __init__(self, *, now: float = 0.0) -> None:
        self._tokens = CAPACITY
        self._at = now

    def ready_at(self, cost: float, *, now: float) -> float:
        """When there are enough tokens, if no call succeeds in between; may lie in the past."""
        return now + (cost - self.left(now)) / REFILL_PER_S

    def take(self, cost: float, *, now: float) -> bool:
        """Pay for a retry, if there are enough tokens."""
        left = self.left(now)
        if left + _ROUNDING < cost:
            return False
        self._tokens, self._at = max(0.0, left - cost), max(now, self._at)
        return True

    def give(self, tokens: float, *, now: float) -> None:
        """A call has succeeded: what its retry cost comes back, `FRESH_GAIN` when it was none."""
        if self._tokens < CAPACITY:
            self._tokens, self._at = min(CAPACITY, self.left(now) + tokens), max(now, self._at)

    def resume(self, tokens: float, *, at: float, now: float) -> None:
        """Go on with what an earlier process had left."""
        self._tokens, self._at = min(max(0.0, tokens), CAPACITY), min(at, now)

    def left(self, now: float) -> float:
        """Tokens there are."""
        # Of a full bucket the time does not matter: it stays full until something is taken.
        return min(CAPACITY, self._tokens + max(0.0, now - self._at) * REFILL_PER_S)
