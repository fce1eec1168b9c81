"""The words in which decisions are kept, and what each comes to.

A word is the account that the event is counted in, with the reason after a colon where there is one: `delivered`,
`denied:withdrawn`, `delivered:redacted`. So the words add up to the accounts, whatever reasons destinations and
configurations invent.
"""

from __future__ import annotations

from enum import StrEnum

DELIVERED = "delivered"
REDACTED = "delivered:redacted"
DEAD = "dead"
EXPIRED = "expired"
HELD = "held"
"""Not decided yet; the only word that another one is sure to follow."""


class Final(StrEnum):
    """How an event ended at a destination."""

    DELIVERED = "delivered"
    REDACTED = "redacted"
    """It was delivered without the person in it, because a purpose that is required was refused by its collection."""
    DENIED = "denied"
    """A purpose that is required was refused, before or when the event was collected."""
    UNDECIDED = "undecided"
    """Nobody said yes or no, and the event did not wait for it."""
    WITHDRAWN = "withdrawn"
    """It was granted when the event was collected, and no more when it was to be sent."""
    DENIED_AT_COLLECTION = "denied_at_collection"
    """It was refused when the event was collected; a later grant does not reach back."""
    HOLD_EXPIRED = "hold_expired"
    """Nobody said yes or no for as long as events are held."""
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    TOO_OLD = "too_old"
    NOT_SELECTED = "not_selected"
    """The destination takes no such events, or the event names destinations and not this one."""
    SKIPPED = "skipped"
    """The destination has no use for it; its own reason says why."""
    FAILED = "failed"
    """It was given up and is a dead letter; a replay may change that."""
    EXPIRED = "expired"
    """The log let go of it before it was sent."""
    DAMAGED = "damaged"
    """The log could not give it any more."""
    HELD = "held"
    """It waits for a decision; nothing is final yet."""


_BY_WORD = {
    DELIVERED: Final.DELIVERED,
    REDACTED: Final.REDACTED,
    DEAD: Final.FAILED,
    EXPIRED: Final.EXPIRED,
    HELD: Final.HELD,
    "expired:damaged in the log": Final.DAMAGED,
}
_BY_REASON = {
    "consent_denied": Final.DENIED,
    "denied": Final.DENIED,
    "consent_undecided": Final.UNDECIDED,
    "undecided": Final.UNDECIDED,
    "withdrawn": Final.WITHDRAWN,
    "denied_at_collection": Final.DENIED_AT_COLLECTION,
    "hold_expired": Final.HOLD_EXPIRED,
    "hold_limit": Final.UNDECIDED,
    "suppressed": Final.SUPPRESSED,
    "erased": Final.ERASED,
    "too_old": Final.TOO_OLD,
    "event_type": Final.NOT_SELECTED,
    "integrations": Final.NOT_SELECTED,
    "filtered": Final.NOT_SELECTED,
    "unknown since a repair": Final.DAMAGED,
}


def denied(reason: str) -> str:
    """The word of an event that was denied for this reason."""
    return f"denied:{reason}"


def expired(reason: str = "") -> str:
    """The word of an event that expired, for a reason or because the log let go of it."""
    return f"{EXPIRED}:{reason}" if reason else EXPIRED


def reason_of(word: str) -> str:
    """The reason in a word, empty when it has none."""
    return word.partition(":")[2]


def final(word: str) -> Final:
    """What a word comes to."""
    found = _BY_WORD.get(word) or _BY_REASON.get(reason_of(word))
    if found is not None:
        return found
    return Final.EXPIRED if word.startswith(EXPIRED) else Final.SKIPPED
