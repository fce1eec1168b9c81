"""When calls may go out: the breaker, the retry budget, the rate limit, the vendor's speed and its own wish, as one.

Pure, like its parts.
"""

from __future__ import annotations

import math

from sluicegate.delivery.breaker import Breaker, BreakerState
from sluicegate.delivery.budget import FRESH_GAIN, THROTTLED_COST, TRANSIENT_COST, RetryBudget
from sluicegate.delivery.lane import Lane, Part
from sluicegate.delivery.rate import RateLimit
from sluicegate.delivery.restraint import Restraint
from sluicegate.errors import DestinationError, Retry

RETRY_AFTER_CAP_S = 3600.0
"""Longest wait that a vendor may ask for."""
GIVE_UP_AFTER_S = 24 * 3600.0
GIVE_UP_ATTEMPTS = 8
"""An event is given up after both this many attempts and this time: either alone gives up too early."""
TOO_MANY_REQUESTS = 429
FAST_S = 0.02
"""Calls shorter than this go out one at a time: more at a time would only cost threads."""


class Pace:
    """Told how calls begin and end; says which may begin. `rate_per_s` are events per second, None for no limit."""

    def __init__(self, max_events: int, rate_per_s: float | None) -> None:
        self._rate = None if rate_per_s is None else RateLimit(rate_per_s)
        self.max_events = max_events if self._rate is None else min(max_events, self._rate.max_events)
        """The largest call that can ever go out."""
        self.breaker = Breaker(self.max_events)
        self.not_before = -math.inf
        """Until when the vendor wants no calls."""
        self._budget = RetryBudget()
        self.service_s = math.inf
        """How long the vendor takes to answer, newer calls first; infinite before the first answer."""
        self._answered_at = -math.inf
        """When it last answered, on the clock that stands still during outages."""

    @property
    def fast(self) -> bool:
        """Whether the vendor answers so fast that one call at a time is best."""
        return self.service_s < FAST_S

    def resume(self, restraint: Restraint, *, now: float) -> None:
        """Go on where an earlier process ended."""
        if restraint.outage is not None:
            self.breaker.resume(restraint.outage, now=now)
        self.not_before = min(restraint.not_before, now + RETRY_AFTER_CAP_S)
        self._budget.resume(restraint.tokens, at=restraint.at, now=now)

    def restraint(self, now: float) -> Restraint:
        """What the next process has to know."""
        return Restraint(now, self.breaker.outage, self.not_before, self._budget.left(now))

    @property
    def limited(self) -> bool:
        """Whether there is a rate limit."""
        return self._rate is not None

    @property
    def probing(self) -> bool:
        """Whether the breaker lets out single calls to see how the vendor is."""
        return self.breaker.state is BreakerState.HALF_OPEN

    def clock(self, now: float) -> float:
        """A clock that stands still during general outages."""
        return now - self.breaker.stopped_s(now)

    def retry_at(self, lane: Lane, now: float) -> float:
        """When the next call of a lane may go out; a probe is free of charge."""
        if lane.due > now:
            return lane.due
        at = self.fresh_at(len(lane.parts[0].events), now) if self._rate is not None else now
        return at if self.probing or not lane.retry_cost else max(at, self._budget.ready_at(lane.retry_cost, now=now))

    def gives_up(self, lane: Lane, now: float) -> bool:
        """Whether the event that is next has failed for so long that it is to blame and not the vendor."""
        part = lane.parts[0]
        if len(part.events) > 1 or part.attempts < GIVE_UP_ATTEMPTS or lane.throttled or self.breaker.general:
            return False
        return part.age_s(self.clock(now)) >= GIVE_UP_AFTER_S

    def has_answered_since(self, part: Part) -> bool:
        """Whether the vendor has answered other calls after it first failed for these events."""
        return part.since is not None and part.since < self._answered_at

    def fresh_at(self, n_events: int, now: float) -> float:
        """When so many events may go out for the first time, as far as the rate limit goes; may lie in the past."""
        return now if self._rate is None else self._rate.ready_at(n_events, now=now)

    def start(self, lane: Lane, now: float) -> bool:
        """Pay for a call of this lane, which is due; False, and nothing is paid, when it may not go out."""
        if not lane.retry_cost and self._rate is None:
            return True
        if self.retry_at(lane, now) > now:
            return False
        if lane.retry_cost and not self.probing and not self._budget.take(lane.retry_cost, now=now):
            return False
        if self._rate is not None:
            self._rate.take(len(lane.parts[0].events), now=now)
        return True

    def answered(self, lane: Lane, now: float) -> None:
        """A call of this lane was answered: the vendor works, whatever it said about the events."""
        self.breaker.succeeded()
        self._answered_at = self.clock(now)
        self._budget.give(lane.retry_cost or FRESH_GAIN, now=now)
        lane.retry_cost = lane.failures = 0
        duration_s = now - lane.started
        self.service_s = duration_s if self.service_s == math.inf else 0.8 * self.service_s + 0.2 * duration_s

    def failed(self, lane: Lane, error: BaseException, now: float) -> float | None:
        """A call of this lane failed in a way that may pass; the wait that the vendor asked for, in seconds."""
        asked = error.after_s if isinstance(error, Retry) else None
        is_wish = isinstance(asked, int | float) and 0 <= asked < math.inf  # a plugin may hand on what the vendor wrote
        wait = min(asked, RETRY_AFTER_CAP_S) if asked is not None and is_wish else None
        if wait is not None:
            self.not_before = max(self.not_before, now + wait)
        status = error.status if isinstance(error, DestinationError) else None
        lane.throttled = status == TOO_MANY_REQUESTS or (status is None and wait is not None)
        lane.retry_cost = THROTTLED_COST if lane.throttled or wait is not None else TRANSIENT_COST
        if not lane.throttled:  # a vendor that counts our calls is alive
            first = lane.parts[0].events.runs[0].offsets[0]
            self.breaker.failed(-first if lane.replay else first, now=now)
        return wait
