"""An event log in memory, for tests and for plugin authors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.event import EventBatch, decode_meta, encode_batch
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.packing import firsts, pack


@dataclass(frozen=True, slots=True)
class _Stored:
    first: Offset
    count: int
    received_at_ms: int
    meta: bytes
    payload: bytes

    @property
    def last(self) -> Offset:
        return self.first + self.count - 1


class MemoryLog(EventLog):
    """Keeps rows encoded, as a log on disk does; for one thread of one process."""

    def __init__(self) -> None:
        self._rows: list[_Stored] = []
        self._head = 0

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        """Keep the batches; see `EventLog.append`."""
        encoded = [(len(row), encode_batch(row)) for row in pack(batches)]  # all or none
        start = self._head + 1
        for count, (meta, payload) in encoded:
            self._rows.append(_Stored(self._head + 1, count, received_at_ms, meta, payload))
            self._head += count
        return firsts(batches, start)

    def head(self) -> Offset:
        """Offset of the newest event; see `EventLog.head`."""
        return self._head

    def tail(self) -> Offset:
        """Offset of the oldest event; see `EventLog.tail`."""
        return self._rows[0].first if self._rows else self._head + 1

    def read(self, after: Offset, *, max_events: int, max_bytes: int) -> list[Row]:
        """Rows with events after this offset; see `EventLog.read`."""
        found: list[Row] = []
        for row in self._rows[bisect_right(self._rows, after, key=_last) :]:
            max_events -= row.count
            max_bytes -= len(row.payload)
            if found and (max_events < 0 or max_bytes < 0):
                break
            found.append(Row(row.first, row.count, row.received_at_ms, decode_meta(row.meta), len(row.payload)))
        return found

    def payload(self, row: Row) -> bytes:
        """The event bytes of a row; see `EventLog.payload`."""
        for stored in self._rows:
            if stored.first == row.first:
                return stored.payload
        raise RowGone(f"events {row.first} to {row.last} were removed by retention; read again")

    def used_bytes(self) -> int:
        """Bytes of all rows; see `EventLog.used_bytes`."""
        return sum(len(row.meta) + len(row.payload) for row in self._rows)

    def trim(self, before: Offset) -> int:
        """Forget whole rows; see `EventLog.trim`."""
        n_rows = bisect_right(self._rows, before - 1, key=_last)
        gone = sum(row.count for row in self._rows[:n_rows])
        del self._rows[:n_rows]
        return gone

    def close(self) -> None:
        """Nothing to release; what was stored stays."""


def _last(row: _Stored) -> Offset:
    return row.last
