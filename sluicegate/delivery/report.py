"""What a delivery worker tells the actor that owns it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class ReportKind(StrEnum):
    """`LOADED` comes at most once and first; exactly one of the others comes last, from a worker that has ended."""

    LOADED = "loaded"
    """The plugin is ready; events are being delivered."""
    STOPPED = "stopped"
    """As it was asked to."""
    FAILED = "failed"
    """The plugin could not be loaded, or the log or store cannot be used: try again with backoff."""
    HALTED = "halted"
    """The vendor refuses us as a whole: pause until an operator resumes."""
    SUPERSEDED = "superseded"
    """A newer epoch has claimed the store."""


class LoadStage(StrEnum):
    """What a worker is at until it has loaded, in the order in which it comes to it."""

    STARTING = "starting"
    IMPORT = "importing the plugin"
    STORE = "opening its store"
    INITIALIZE = "running initialize()"
    TEST = "running test()"
    LOG = "opening the event log"
    LOADED = "delivering"


@dataclass(frozen=True, slots=True)
class Report:
    """One report; `reason` is a text for the operator, without secrets.

    `permanent`: a failure that trying again can't mend, because something has to be installed.
    """

    kind: ReportKind
    reason: str = ""
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a worker is doing at this moment.

    `cursor` and `delivered` (since the start of the worker) are what is committed. `caught_up`: everything in the log
    is dealt with and committed. `idle_s` is the time since there last was an event to deliver, `stalled_s` the age of
    the oldest running call, `destroy()` included. `error` is the last delivery or storage error, None once a batch went
    through. `breaker` is the state of the circuit breaker, and `reason` says why nothing or little goes out, None when
    nothing holds it back.
    `unknown_outcomes` counts the calls whose request went out and that got no answer,
    `delivered_unenforced` the events that went although nobody said anything about consent. For `rests_s` an open
    circuit breaker lets no call out.
    """

    cursor: int
    caught_up: bool
    idle_s: float
    stalled_s: float
    delivered: int
    error: str | None
    breaker: str = "closed"
    reason: str | None = None
    unknown_outcomes: int = 0
    delivered_unenforced: int = 0
    rests_s: float = 0.0


@dataclass(slots=True)
class Vitals:
    """The numbers behind `Snapshot`: written by the worker's thread, read by any."""

    cursor: int = 0
    delivered: int = 0
    caught_up: bool = False
    last_event_at: float = field(default_factory=time.monotonic)
    error: str | None = None
    breaker: str = "closed"
    reason: str | None = None
    unknown_outcomes: int = 0
    delivered_unenforced: int = 0
    rests_until: float = -math.inf
    oldest_call_s: Callable[[], float] = lambda: 0.0

    def snapshot(self) -> Snapshot:
        """All of them at this moment."""
        now = time.monotonic()
        return Snapshot(
            self.cursor,
            self.caught_up,
            now - self.last_event_at,
            self.oldest_call_s(),
            self.delivered,
            self.error,
            self.breaker,
            self.reason,
            self.unknown_outcomes,
            self.delivered_unenforced,
            max(0.0, self.rests_until - now),
        )
