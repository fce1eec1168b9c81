"""Events about consent itself: what is kept of them, and told to the few destinations that want to hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from sluicegate.acceptance.times import write_ms
from sluicegate.config.model import Config
from sluicegate.consent.evidence import Told
from sluicegate.event import CONSENT_TYPE, Combo, EventBatch, stamp_of

CONSENT_EVENT = "Segment Consent Preference Updated"
"""segment.com/docs/privacy/consent-management/consent-in-segment-connect"""


def notice(
    preferences: Mapping[str, bool],
    *,
    message_id: str,
    user_id: str | None,
    anonymous_id: str | None,
    time_ms: int,
    received_ms: int,
) -> bytes:
    """The event as it is stored, in whichever dialect it came: ids, preferences, times, and nothing else."""
    members: dict[str, Any] = {
        "receivedAt": write_ms(received_ms),
        "type": "track",
        "event": CONSENT_EVENT,
        "messageId": message_id,
        "timestamp": write_ms(time_ms),
    }
    if user_id is not None:
        members["userId"] = user_id
    if anonymous_id is not None:
        members["anonymousId"] = anonymous_id
    members["context"] = {"consent": {"categoryPreferences": dict(preferences)}}
    return msgspec.json.encode(members)


def listeners(config: Config) -> tuple[str, ...]:
    """The ids of the destinations that want to hear of decisions."""
    return tuple(one.id for one in config.destinations.values() if one.enabled and one.receives_consent_events)


def notice_of(told: Told, *, received_ms: int) -> EventBatch:
    """The event about a decision that was told by itself, ready for the log; none when nothing was decided.

    The same decision (source, ids, preferences and time) has the same message id, so that it is stored once.
    """
    if not told.writes:
        return EventBatch()
    preferences = {purpose: all(write.granted for write in writes) for purpose, writes in sorted(told.writes.items())}
    time_ms = max(write.at_ms for writes in told.writes.values() for write in writes)
    user_id, anonymous_id = told.subject
    said = msgspec.json.encode([told.source, user_id, anonymous_id, preferences, time_ms])
    message_id = f"consent-{blake2b(said, digest_size=16).hexdigest()}"
    ids: dict[str, Any] = {"message_id": message_id, "user_id": user_id, "anonymous_id": anonymous_id}
    event = notice(preferences, time_ms=time_ms, received_ms=received_ms, **ids)
    combo = Combo(CONSENT_TYPE, told.source, stamp_of(preferences))
    return EventBatch([combo], [message_id], [user_id], [anonymous_id], [time_ms], [event], len(event))
