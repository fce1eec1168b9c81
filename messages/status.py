"""Questions to the supervisor about destinations, and their answers."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.messages.codec import Message, message


@message
@dataclass(frozen=True, slots=True)
class GetStatus(Message):
    """Ask for the status of these destinations, of all when `ids` is None; answered by `Statuses`."""

    request_id: str
    ids: tuple[str, ...] | None = None


@message
@dataclass(frozen=True, slots=True)
class DestinationStatus(Message):
    """One destination: its loading state and its accounts. Times are Unix seconds.

    `breaker` is the state of its circuit breaker (closed, open, half_open); None while it is not loaded.
    `unknown_outcomes` counts the calls of its process whose request went out and that got no answer,
    `delivered_unenforced` the events that it delivered although nobody said anything about consent.

    accepted = delivered + pending + held + dead + denied + expired, always. `redacted` of the delivered went without
    the person in them, because consent was refused. `denied_by` splits `denied` by reason,
    `expired_by` what expired for another reason than retention. `overrides_plugin_consent` is true where the
    configuration leaves out what the type requires.
    """

    id: str
    type: str
    state: str
    loading: bool = False
    loaded: bool = False
    error: str | None = None
    last_attempt: float | None = None
    retry_count: int = 0
    next_attempt_at: float | None = None
    reason: str | None = None
    epoch: int = 0
    pid: int | None = None
    loaded_at: float | None = None
    last_used: float | None = None
    lag_events: int = 0
    lag_seconds: float = 0.0
    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    held: int = 0
    dead: int = 0
    denied: int = 0
    expired: int = 0
    denied_by: dict[str, int] | None = None
    expired_by: dict[str, int] | None = None
    breaker: str | None = None
    unknown_outcomes: int = 0
    delivered_unenforced: int = 0
    redacted: int = 0
    overrides_plugin_consent: bool = False


@message
@dataclass(frozen=True, slots=True)
class Stats(Message):
    """How many destinations are in which condition; `cached` counts plugin instances that are alive and idle.

    `evicted_for_memory` is how often one was ended for the sake of memory since the supervisor began.
    """

    registered: int
    loaded: int
    loading: int
    failed: int
    cached: int
    evicted_for_memory: int = 0


@message
@dataclass(frozen=True, slots=True)
class Statuses(Message):
    """Answer to `GetStatus`."""

    request_id: str
    destinations: tuple[DestinationStatus, ...]
    stats: Stats


@message
@dataclass(frozen=True, slots=True)
class GetStats(Message):
    """Ask for the counts alone; answered by `StatsAnswer`."""

    request_id: str


@message
@dataclass(frozen=True, slots=True)
class StatsAnswer(Message):
    """Answer to `GetStats`."""

    request_id: str
    stats: Stats


@message
@dataclass(frozen=True, slots=True)
class IsLoaded(Message):
    """Ask whether a destination is loaded; answered by `IsLoadedAnswer`, or `Refused` for an unknown id."""

    request_id: str
    id: str


@message
@dataclass(frozen=True, slots=True)
class IsLoadedAnswer(Message):
    """Answer to `IsLoaded`."""

    request_id: str
    loaded: bool
