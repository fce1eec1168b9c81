"""What is known about the loading of one destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a destination stands; the texts are what the status shows."""

    REGISTERED = "registered"
    """Configured, and not running because nobody needs it (or it waits for capacity: see the reason)."""
    LOADING = "loading"
    """Its process is starting: import, `initialize`, perhaps `test`."""
    LOADED = "loaded"
    """It delivers, or waits for something to deliver."""
    DRAINING = "draining"
    """It has been asked to end, or made to; nothing new is started before its process is gone."""
    BACKING_OFF = "backing_off"
    """It failed, and is tried again at `next_attempt_at`."""
    QUARANTINED = "quarantined"
    """It failed too often, and is tried once per cool-down."""
    FAILED = "failed"
    """It can't load before somebody installs what is missing; tried again at `retry` and at the next start."""
    PAUSED = "paused"
    """An operator stopped it, or its vendor refused us; it stays so, over restarts too, until it is resumed."""


FAILING = frozenset({State.BACKING_OFF, State.QUARANTINED, State.FAILED})
"""The states of a destination that failed and waits for its next attempt, or for somebody to ask for one."""


@dataclass(frozen=True, slots=True)
class LoadingStatus:
    """Snapshot of one destination's loading. Times are seconds on the clock that the table is driven with."""

    id: str
    state: State
    loading: bool
    loaded: bool
    error: str | None
    """Why the last attempt or delivery failed; None once it works again."""
    last_attempt: float | None
    """When it was last started."""
    retry_count: int
    """Failures since it was last healthy."""
    next_attempt_at: float | None
    epoch: int
    """Number of its last start; 0 before the first."""
    pid: int | None
    loaded_at: float | None
    last_used: float | None
    """When it last had an event to deliver."""
    reason: str | None
    """What it waits for, why it is paused, or why it was ended before its time."""
    breaker: str | None = None
    """State of its circuit breaker; None while it is not loaded."""
    unknown_outcomes: int = 0
    """Calls of its process whose request went out and that got no answer."""
    delivered_unenforced: int = 0
    """Events that its process delivered although nobody said anything about consent."""
