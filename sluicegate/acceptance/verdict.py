"""What becomes of the events of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch


class Reason(StrEnum):
    """Why one event was not accepted, in words for its sender; never anything that the event holds."""

    TOO_LARGE = "larger than one event may be"
    TOO_DEEP = "nested too deeply"
    NOT_JSON = "not valid JSON (NaN, Infinity and half surrogate pairs are not JSON)"
    NOT_OBJECT = "not a JSON object"
    TOO_MANY_KEYS = "more than 10,000 keys"
    NUMBER = "a number that fits neither 64 bits nor a double"
    DUPLICATE_KEY = "a key that tells consent, integrations or an id is there twice"
    TYPE = "type must be track, identify, page, screen, group or alias"
    TYPE_DIFFERS = "type is not that of the address it was sent to"
    MESSAGE_ID = "messageId must be a text of 1 to 255 characters"
    SUBJECT = "userId and anonymousId must be texts of at most 255 characters, or whole numbers"
    NO_SUBJECT = "neither userId nor anonymousId"
    NO_EVENT_NAME = "a track event needs the event's name in event"
    NO_GROUP_ID = "a group event needs groupId"
    NO_PREVIOUS_ID = "an alias event needs previousId"
    CONTEXT = "context must be an object"
    INTEGRATIONS = "integrations must be an object of at most 100 names"
    CONSENT_EVENT = (
        "an event of type consent needs an action (granted, revoked, updated) and preferences of true and false"
    )
    NO_PREFERENCES = "a consent event needs context.consent.categoryPreferences"

    def within(self, limits: GatewayConfig) -> str:
        """The same, with the limit that was broken and the key that sets it, where there is one."""
        if self is Reason.TOO_LARGE:
            return f"larger than {limits.max_event_bytes} bytes (max_event_size)"
        if self is Reason.TOO_DEEP:
            return f"nested more than {limits.max_depth} deep (max_depth)"
        return self.value


class BadEvent(ValueError):
    """One event that cannot be accepted; the others of its request can."""

    def __init__(self, reason: Reason, *, message_id: str | None = None) -> None:
        self.reason = reason
        self.message_id = message_id
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event that was not accepted: its place in the request, its id if it has one, and why."""

    index: int
    message_id: str | None
    reason: Reason
    text: str
    """The reason in words, with the limit that was broken."""


@dataclass(slots=True)
class Acceptance:
    """The events of a request that can be stored, and those that cannot."""

    batch: EventBatch
    rejected: list[Rejection] = field(default_factory=list)
    malformed_consent: int = 0
    """Consent values and objects, over all accepted events, that could not be read and count as undecided."""
    of_nobody: bool = False
    """Whether the events got ids that nobody else has, so that what they say holds for them alone."""
