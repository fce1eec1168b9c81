"""What holds calls back and outlives the process: a vendor in an outage is not tried anew because we have restarted."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """A circuit breaker that is not closed: it lets out one event at `until`, having been open for `open_s` by then.

    `general` as in `Breaker`.
    """

    until: float
    open_s: float
    general: bool


@dataclass(frozen=True, slots=True)
class Restraint:
    """At the time `at` (monotonic, as all of them): the outage, the vendor's wish for no calls, the retry budget."""

    at: float
    outage: Outage | None = None
    not_before: float = -math.inf
    tokens: float = math.inf
    """What is left of the retry budget; more than it can have is a full one."""
