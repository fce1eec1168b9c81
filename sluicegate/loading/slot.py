"""One destination in the loading table: its process, if it has one, and what follows when that ends."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from sluicegate.loading.pauses import is_operators
from sluicegate.loading.status import FAILING, LoadingStatus, State

CRASH_INTENSITY = 5
"""So many crashes within `CRASH_WINDOW_S` end in quarantine, however well each life began (as in OTP)."""
CRASH_WINDOW_S = 60.0
MAX_ERROR_CHARS = 2_000


class Phase(Enum):
    """What a live process is doing, as far as is known."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    """It was asked to end."""
    CONDEMNED = "condemned"
    """It failed: it ends by itself or was killed, and only its exit is awaited."""


@dataclass(slots=True)
class Process:
    """A process that was started and whose exit has not been seen."""

    epoch: int
    deadline: float
    """When something must have happened: its first reply, its next sign of life, or its exit, by phase."""
    phase: Phase = Phase.STARTING
    pid: int | None = None
    doing: str = "loading"
    """What it is at until it is ready."""
    caught_up: bool = False
    idle_since: float = 0.0
    breaker: str = "closed"
    """State of its circuit breaker."""
    rests_until: float = -math.inf
    """When its next call goes out, while an outage of its vendor keeps all of them back."""
    unknown_outcomes: int = 0
    delivered_unenforced: int = 0
    still_since: float | None = None
    """Since when it has been seen to be stopped by a signal; None when it was not at the last look."""
    awake_since: float = -math.inf
    """When everybody last woke up: no call is taken for hung because of what it lasted before that."""

    @property
    def ending(self) -> bool:
        """Whether it is on its way out."""
        return self.phase in (Phase.STOPPING, Phase.CONDEMNED)


@dataclass(slots=True)
class Slot:
    """Everything the table keeps about one destination.

    `rest` is its state without a process; with one, the state follows from the process. `wanted` says that it is to
    be running: set by whoever asks for it, kept over crashes, and ended by idleness, eviction and `unload`.
    """

    id: str
    known_epoch: int = 0
    """The greatest epoch that anybody has claimed; the next start gets a greater one."""
    epoch: int = 0
    rest: State = State.REGISTERED
    wanted: bool = False
    process: Process | None = None
    error: str | None = None
    reason: str | None = None
    last_attempt: float | None = None
    retry_count: int = 0
    next_attempt_at: float | None = None
    loaded_at: float | None = None
    last_used: float | None = None
    failures: int = 0
    """Failed attempts in all; tells a load request that its attempt has failed."""
    halted_epoch: int = 0
    crashes: deque[float] = field(default_factory=lambda: deque(maxlen=CRASH_INTENSITY))

    @property
    def state(self) -> State:
        """Where it stands, from its process and `rest`."""
        process = self.process
        if process is None:
            return self.rest
        if process.phase is Phase.READY:
            return State.LOADED
        if process.phase is Phase.STARTING:
            return State.LOADING
        if process.phase is Phase.CONDEMNED and self.rest in FAILING:
            return self.rest
        return State.DRAINING

    @property
    def loaded(self) -> bool:
        """Whether its process delivers."""
        return self.process is not None and self.process.phase is Phase.READY

    @property
    def is_failing(self) -> bool:
        """Whether it cannot deliver for a reason that nobody here has chosen: it failed, or its vendor refuses it."""
        if self.rest is State.PAUSED:
            return not is_operators(self.reason or "")
        return self.state in FAILING

    def due(self, now: float) -> bool:
        """Whether it should be started now, capacity permitting."""
        if not self.wanted or self.process is not None or self.rest in (State.PAUSED, State.FAILED):
            return False
        return self.next_attempt_at is None or now >= self.next_attempt_at

    def running(self, epoch: int) -> Process | None:
        """Its process, if it has this epoch."""
        process = self.process
        return process if process is not None and process.epoch == epoch else None

    def fail(self, error: str) -> None:
        """Count a failure; the caller decides what follows."""
        self.error = error[:MAX_ERROR_CHARS]
        self.failures += 1
        self.retry_count += 1

    def crash(self, now: float) -> bool:
        """Count a crash; true when there were too many of them lately."""
        self.crashes.append(now)
        return len(self.crashes) == CRASH_INTENSITY and now - self.crashes[0] <= CRASH_WINDOW_S

    def forgive(self) -> None:
        """Forget all failures."""
        self.retry_count = 0
        self.crashes.clear()
        self.next_attempt_at = None
        if self.rest is State.FAILED:
            self.reason = None
        if self.rest in FAILING:
            self.rest = State.REGISTERED
        if not self.loaded:
            self.error = None

    def status(self) -> LoadingStatus:
        """Snapshot for the outside."""
        state = self.state
        return LoadingStatus(
            id=self.id,
            state=state,
            loading=state is State.LOADING,
            loaded=state is State.LOADED,
            error=self.error,
            last_attempt=self.last_attempt,
            retry_count=self.retry_count,
            next_attempt_at=self.next_attempt_at,
            epoch=self.epoch or self.known_epoch,
            pid=self.process.pid if self.process is not None else None,
            loaded_at=self.loaded_at,
            last_used=self.last_used,
            reason=self.reason,
            breaker=self.process.breaker if self.process is not None and self.loaded else None,
            unknown_outcomes=self.process.unknown_outcomes if self.process is not None else 0,
            delivered_unenforced=self.process.delivered_unenforced if self.process is not None else 0,
        )
