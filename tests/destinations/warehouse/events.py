from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sluicegate.destinations.base import Batch
from sluicegate.testing.destination_contract import make_batch


def track(name: str = "Order Completed", /, **properties: object) -> dict[str, Any]:
    return {"type": "track", "event": name, "anonymousId": "visitor", "properties": properties}


def identify(user_id: str, /, received_at: str = "2026-01-05T12:00:00.000Z", **traits: object) -> dict[str, Any]:
    return {"type": "identify", "userId": user_id, "receivedAt": received_at, "traits": traits}


def batch_of(*events: Mapping[str, Any], first: int = 1) -> Batch:
    """A batch whose message ids are m-FIRST and so on."""
    ids = [f"m-{n}" for n in range(first, first + len(events))]
    times = {"timestamp": "2026-01-05T12:00:00.000Z", "receivedAt": "2026-01-05T12:00:00.000Z"}
    raws = [msgspec.json.encode({**times, "messageId": id_, **event}) for id_, event in zip(ids, events, strict=True)]
    return make_batch(ids, first_offset=first, raws=raws)
