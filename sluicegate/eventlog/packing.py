"""How batches are put together into the rows of a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sluicegate.event import MAX_COMBOS, EventBatch

MAX_ROW_EVENTS = 2_500
"""As many as the largest request of Segment's HTTP API may carry."""

MAX_ROW_BYTES = 1024 * 1024
"""Bounds what a reader must hold at a time; one larger event has a row of its own."""


def pack(batches: Sequence[EventBatch]) -> list[EventBatch]:
    """The events of all batches, in order, in as few rows as the limits allow; the batches stay as they are."""
    if len(batches) == 1 and _fits(EventBatch(), batches[0]):
        return [batches[0]] if batches[0] else []
    rows: list[EventBatch] = []
    row = EventBatch()
    for batch in batches:
        for piece in [batch] if _fits(row, batch) else _singles(batch):
            if row and not _fits(row, piece):
                rows.append(row)
                row = EventBatch()
            row.extend(piece)
    return [*rows, row] if row else rows


def _fits(row: EventBatch, more: EventBatch) -> bool:
    n_events = len(row) + len(more)
    if n_events > MAX_ROW_EVENTS or row.n_bytes + more.n_bytes > MAX_ROW_BYTES:
        return False
    return n_events <= MAX_COMBOS or _distinct(row, more) <= MAX_COMBOS


def _distinct(row: EventBatch, more: EventBatch) -> int:
    # Equal combinations are mostly the same object, and identities hash faster than nested tuples.
    bound = len({*map(id, row.combos), *map(id, more.combos)})
    return bound if bound <= MAX_COMBOS else len({*row.combos, *more.combos})


def _singles(batch: EventBatch) -> Iterable[EventBatch]:
    for combo, message_id, user_id, anonymous_id, time_ms, event in zip(
        batch.combos,
        batch.message_ids,
        batch.user_ids,
        batch.anonymous_ids,
        batch.times_ms,
        batch.events,
        strict=True,
    ):
        yield EventBatch([combo], [message_id], [user_id], [anonymous_id], [time_ms], [event], len(event))


def firsts(batches: Sequence[EventBatch], start: int) -> list[int]:
    """The offset of each batch's first event when the first event of all gets `start`."""
    offsets = []
    for batch in batches:
        offsets.append(start)
        start += len(batch)
    return offsets
