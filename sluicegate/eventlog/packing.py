"""How batches are put together into the rows of a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sluicegate.event import MAX_COMBOS, Combo, EventBatch

MAX_ROW_EVENTS = 2_500
"""As many as the largest request of Segment's HTTP API may carry."""

MAX_ROW_BYTES = 1024 * 1024
"""Bounds what a reader must hold at a time; one larger event has a row of its own."""


def pack(batches: Sequence[EventBatch]) -> list[EventBatch]:
    """The events of all batches, in order, in as few rows as the limits allow; the batches stay as they are."""
    if sum([len(batch.events) for batch in batches]) <= MAX_ROW_EVENTS:
        row = batches[0] if len(batches) == 1 else _joined(batches)
        # Equal combinations are mostly the same object, and identities hash faster than nested tuples.
        if row.n_bytes <= MAX_ROW_BYTES and len(set(map(id, row.combos))) <= MAX_COMBOS:
            return [row] if row.events else []
    return _parted(batches)


def _parted(batches: Sequence[EventBatch]) -> list[EventBatch]:
    """As `pack`, for batches that may need several rows."""
    rows: list[EventBatch] = []
    row = _Row()
    for batch in batches:
        for piece in [batch] if row.fits(batch) else _singles(batch):
            if row.batch and not row.fits(piece):
                rows.append(row.batch)
                row = _Row()
            row.add(piece)
    return [*rows, row.batch] if row.batch else rows


def _joined(batches: Sequence[EventBatch]) -> EventBatch:
    joined = EventBatch()
    for batch in batches:
        joined.extend(batch)
    return joined


class _Row:
    """A row that grows, and the distinct combinations in it."""

    def __init__(self) -> None:
        self.batch = EventBatch()
        self._combos: set[Combo] = set()
        self._seen: set[int] = set()

    def fits(self, more: EventBatch) -> bool:
        """Whether the row stays within the limits with these events."""
        n_events = len(self.batch) + len(more)
        if n_events > MAX_ROW_EVENTS or self.batch.n_bytes + more.n_bytes > MAX_ROW_BYTES:
            return False
        return n_events <= MAX_COMBOS or len(self._combos.union(self._fresh(more))) <= MAX_COMBOS

    def add(self, more: EventBatch) -> None:
        """Append these events."""
        self._combos.update(self._fresh(more))
        self._seen.update(map(id, more.combos))
        self.batch.extend(more)

    def _fresh(self, more: EventBatch) -> list[Combo]:
        # Equal combinations are mostly the same object, and identities hash faster than nested tuples.
        objects = dict(zip(map(id, more.combos), more.combos, strict=True))
        return [combo for identity, combo in objects.items() if identity not in self._seen]


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
