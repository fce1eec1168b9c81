"""Finding an event in what is left of the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluicegate.consent.subject import Subject
from sluicegate.event import About, Combo
from sluicegate.eventlog.base import EventLog, Offset, Row

READ_EVENTS = 50_000
READ_BYTES = 64 * 1024 * 1024  # of the rows' sizes; only their meta is read


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Where an event lies in the log, when it came, whose it is, and what routing and consent know of it."""

    offset: Offset
    received_at_ms: int
    time_ms: int
    combo: Combo
    message_id: str
    subject: Subject

    @property
    def about(self) -> About:
        """What consent is decided by."""
        user_id, anonymous_id = self.subject
        return About([user_id], [anonymous_id], [self.time_ms], b"\x00", (self.combo,))


def find_events(log: EventLog, message_id: str) -> Iterator[StoredEvent]:
    """Every event with this message id that the log still holds, oldest first; reads the meta of the whole log."""
    after = log.tail() - 1
    while rows := log.read(after, max_events=READ_EVENTS, max_bytes=READ_BYTES):
        for row in rows:
            if row.damage is None and message_id in row.meta.message_ids:
                yield from (_stored(row, i) for i, other in enumerate(row.meta.message_ids) if other == message_id)
        after = rows[-1].last


def event_at(log: EventLog, offset: Offset) -> StoredEvent | None:
    """The event with this offset, None when the log does not hold it any more, or not yet, or cannot read it."""
    for row in log.read(offset - 1, max_events=1, max_bytes=1):
        if row.damage is None and row.first <= offset <= row.last:
            return _stored(row, offset - row.first)
    return None


def _stored(row: Row, index: int) -> StoredEvent:
    meta = row.meta
    subject = Subject(meta.user_ids[index], meta.anonymous_ids[index])
    combo = meta.combos[meta.combo_of[index]]
    return StoredEvent(
        row.first + index, row.received_at_ms, meta.times_ms[index], combo, meta.message_ids[index], subject
    )
