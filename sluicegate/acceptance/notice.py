"""Events about consent itself: what is kept of them, and told to the few destinations that want to hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sluicegate.acceptance.times import write_ms

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
