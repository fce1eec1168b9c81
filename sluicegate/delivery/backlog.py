"""Permitted events that wait for a call, in log order, as columns.

Pure. An event belongs to one of 255 slots by the hash of its subject; slots are what lanes own. Slots are computed
only when several calls share the events: a destination that takes its events one call at a time never pays for them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import accumulate, compress
from operator import itemgetter

N_SLOTS = 255
TAKEN = 255
"""Stands in the slot column for an event that is gone; compacted away in bulk."""
_ALL_SLOTS = bytes(range(N_SLOTS))


class Columns:
    """Events as equal-length columns: offsets, message ids, subjects and JSON bytes."""

    __slots__ = ("message_ids", "offsets", "raws", "subjects")

    def __init__(
        self,
        offsets: Sequence[int] = (),
        message_ids: Sequence[str] = (),
        subjects: Sequence[str] = (),
        raws: Sequence[bytes] = (),
    ) -> None:
        self.offsets = list(offsets)
        self.message_ids = list(message_ids)
        self.subjects = list(subjects)
        self.raws = list(raws)

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, start: int, stop: int) -> Columns:
        """Events from `start` to before `stop`."""
        return Columns(
            self.offsets[start:stop],
            self.message_ids[start:stop],
            self.subjects[start:stop],
            self.raws[start:stop],
        )

    def pick(self, indices: Sequence[int]) -> Columns:
        """The events at these indices."""
        if len(indices) < 2:
            return self.slice(indices[0], indices[0] + 1) if indices else Columns()
        get = itemgetter(*indices)
        return Columns(get(self.offsets), get(self.message_ids), get(self.subjects), get(self.raws))

    def keep(self, selectors: Sequence[object]) -> Columns:
        """The events whose selector is true."""
        return Columns(
            list(compress(self.offsets, selectors)),
            list(compress(self.message_ids, selectors)),
            list(compress(self.subjects, selectors)),
            list(compress(self.raws, selectors)),
        )

    def extend(self, other: Columns) -> None:
        """Append the events of another."""
        self.offsets += other.offsets
        self.message_ids += other.message_ids
        self.subjects += other.subjects
        self.raws += other.raws

    def n_bytes(self) -> int:
        """Bytes of all events."""
        return sum(map(len, self.raws))

    def slots(self) -> bytes:
        """One byte per event: the slot of its subject."""
        return bytes([hash(subject) % N_SLOTS for subject in self.subjects])


class Backlog:
    """A queue of events from which one can also take the events of some slots only."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._columns = Columns()
        self._slots = bytearray()
        self._head = 0
        self._n_taken = 0
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._columns) - self._head - self._n_taken

    def extend(self, events: Columns) -> None:
        """Append events, whose offsets must be higher than all before."""
        self._columns.extend(events)
        self.n_bytes += events.n_bytes()

    def take_head(self) -> Columns:
        """Take the oldest events, as many as one call may hold and at least one."""
        self._compact()
        start, stop = self._head, self._head + self._max_events
        events = self._columns.slice(start, stop)
        if (size := events.n_bytes()) > self._max_bytes:
            events = events.slice(0, self._fitting(events.raws))
            size = events.n_bytes()
        self._head += len(events)
        self.n_bytes -= size
        return events

    def count_free(self, busy: Set[int]) -> int:
        """How many waiting events are of a subject that no lane owns."""
        self._index()
        live = self._slots[self._head :]
        return len(live) - len(live.translate(None, _free(busy)))

    def take_groups(self, n_groups: int, busy: Set[int]) -> list[tuple[Columns, Set[int]]]:
        """Take up to `n_groups` batches of the oldest events of slots that are not busy, each with its slots."""
        self._index()
        free = _free(busy)
        taken = [self._take_slots(free[group::n_groups]) for group in range(n_groups)]
        if self._n_taken * 2 > len(self._columns):
            self._compact()
        return [(events, slots) for events, slots in taken if slots]

    def _take_slots(self, wanted: bytes) -> tuple[Columns, Set[int]]:
        table = bytearray(256)
        for slot in wanted:
            table[slot] = 1
        selected, slots = self._slots.translate(table), self._slots
        indices: list[int] = []
        at = selected.find(1, self._head)
        while at >= 0 and len(indices) < self._max_events:
            indices.append(at)
            at = selected.find(1, at + 1)
        events = self._columns.pick(indices)
        if (size := events.n_bytes()) > self._max_bytes:
            events = events.slice(0, self._fitting(events.raws))
            size = events.n_bytes()
        owned = set()
        for index in indices[: len(events)]:
            owned.add(slots[index])
            slots[index] = TAKEN
        self._n_taken += len(events)
        self.n_bytes -= size
        return events, owned

    def _fitting(self, raws: list[bytes]) -> int:
        sizes = accumulate(map(len, raws))
        return max(1, sum(1 for size in sizes if size <= self._max_bytes))

    def _index(self) -> None:
        known = len(self._slots)
        if known < len(self._columns):
            self._slots += self._columns.slice(known, len(self._columns)).slots()

    def _compact(self) -> None:
        if self._n_taken:
            live = self._slots.translate(b"\x01" * N_SLOTS + b"\x00")
            live[: self._head] = bytes(self._head)
            live += b"\x01" * (len(self._columns) - len(live))
            self._columns = self._columns.keep(live)
            self._slots = bytearray(compress(self._slots, live))
        elif self._head * 2 >= len(self._columns):
            self._columns = self._columns.slice(self._head, len(self._columns))
            del self._slots[: self._head]
        else:
            return
        self._head = self._n_taken = 0


def _free(busy: Set[int]) -> bytes:
    return _ALL_SLOTS.translate(None, bytes(busy))
