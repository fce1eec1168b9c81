"""Batches of events for tests."""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.event import Combo, EventBatch

TRACK = Combo("track", "web")


def batch_of(events: Iterable[bytes], *, combo: Combo = TRACK) -> EventBatch:
    """A batch of these events, all of one combination and one visitor, with message ids "m-0", "m-1" and so on."""
    batch = EventBatch()
    for index, event in enumerate(events):
        add_event(batch, event, message_id=f"m-{index}", combo=combo)
    return batch


def add_event(
    batch: EventBatch,
    event: bytes,
    *,
    message_id: str,
    combo: Combo = TRACK,
    user_id: str | None = None,
    anonymous_id: str | None = "visitor",
    time_ms: int = 1_700_000_000_000,
) -> None:
    """Add one event to a batch."""
    batch.combos.append(combo)
    batch.message_ids.append(message_id)
    batch.user_ids.append(user_id)
    batch.anonymous_ids.append(anonymous_id)
    batch.times_ms.append(time_ms)
    batch.events.append(event)
    batch.n_bytes += len(event)
