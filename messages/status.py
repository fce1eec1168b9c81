"""Questions to the supervisor about destinations, and their answers."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.messages.codec import Message, message


@message
@dataclass(frozen=True, slots=True)
class GetStatus(Message):
    """Ask for the status of these destinations, of all when `ids` is None; answered by `Statuses`, or `Refused`."""

    request_id: str
    ids: tuple[str, ...] | None = None


@message
@dataclass(frozen=True, slots=True)
class DestinationStatus(Message):
    """One destination: its loading state and its accounts. Times are Unix seconds.

    accepted = delivered + pending + held + dead + denied + expired, always.
    """

    id: str
    """Its name in the configuration."""
    type: str
    """Its type, such as webhook; empty for one that is not configured any more."""
    state: str
    """registered, loading, loaded, draining, backing_off, quarantined, failed, paused, or removed."""
    loading: bool = False
    """Whether its process is starting."""
    loaded: bool = False
    """Whether its process is ready and delivers."""
    error: str | None = None
    """Why the last attempt or delivery failed; None once it works again."""
    last_attempt: float | None = None
    """When its process was last started."""
    retry_count: int = 0
    """Failures since it was last healthy."""
    next_attempt_at: float | None = None
    """When it is tried again; None when that is not fixed."""
    reason: str | None = None
    """What it waits for, or why it is paused: by an operator, by its vendor's refusal, or by both."""
    epoch: int = 0
    """Number of its last start; 0 before the first."""
    pid: int | None = None
    """Its process; None without one."""
    loaded_at: float | None = None
    """When it was last ready."""
    last_used: float | None = None
    """When it last had an event to deliver."""
    lag_events: int = 0
    """Events that it has not dealt with yet; the same as pending."""
    lag_seconds: float = 0.0
    """Age of the oldest of them."""
    accepted: int = 0
    """Events since it was registered, whoever they are for."""
    delivered: int = 0
    """Events that it has confirmed."""
    pending: int = 0
    """Events that wait to be looked at and delivered."""
    held: int = 0
    """Events that wait for somebody's decision about consent."""
    dead: int = 0
    """Events that were refused for good: dead letters, also those that were dropped."""
    denied: int = 0
    """Events that it does not get: consent, their type, their `integrations`, its mapping; `denied_by` has why."""
    expired: int = 0
    """Events that the log let go of before they were delivered."""
    denied_by: dict[str, int] | None = None
    """`denied` by reason."""
    expired_by: dict[str, int] | None = None
    """What expired for another reason than retention, by reason."""
    breaker: str | None = None
    """State of its circuit breaker (closed, open, half_open); None while it is not loaded."""
    unknown_outcomes: int = 0
    """Calls of its process whose request went out and that got no answer."""
    delivered_unenforced: int = 0
    """Events that its process delivered although nobody said anything about consent."""
    redacted: int = 0
    """Of the delivered: those that went without the person in them, because consent was refused."""
    overrides_plugin_consent: bool = False
    """Whether the configuration leaves out what the type requires."""


@message
@dataclass(frozen=True, slots=True)
class Stats(Message):
    """How many destinations are in which condition."""

    registered: int
    """All that are configured and enabled."""
    loaded: int
    """Ready to deliver."""
    loading: int
    """Their process is starting."""
    failed: int
    """Backing off, quarantined, failed for good, or refused by their vendor; one that an operator paused is not."""
    cached: int
    """Of the loaded: those that have nothing left to deliver."""
    evicted_for_memory: int = 0
    """How often one was ended for the sake of memory since the supervisor began."""


@message
@dataclass(frozen=True, slots=True)
class Statuses(Message):
    """Answer to `GetStatus`; those that are not configured any more come last."""

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
