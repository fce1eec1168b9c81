"""Permitted events that wait for a call, in log order.

Pure. An event belongs to one of 255 slots by the hash of its subject; slots are what lanes own. Slots are computed
only when several calls share the events: a destination that takes its events one call at a time never pays for them,
and gets whole rows without a look at each event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Set
from itertools import compress, count, islice

from sluicegate.eventlog.runs import Events, Run

N_SLOTS = 255
TAKEN = 255
"""Stands in the slot column for an event that is gone; compacted away in bulk."""
_ALL_SLOTS = bytes(range(N_SLOTS))
_IS_LIVE = b"\x01" * N_SLOTS + b"\x00"


def slots_of(subjects: Iterable[str]) -> bytes:
    """One byte per event: the slot of its subject."""
    return bytes([hash(subject) % N_SLOTS for subject in subjects])


def calls_of(events: Events, *, max_events: int, max_bytes: int) -> Iterator[Events]:
    """The events cut into pieces that fit into one call each."""
    queue = Backlog(max_events=max_events, max_bytes=max_bytes)
    queue.extend(events)
    while len(queue):
        yield queue.take_head()


class Backlog:
    """A queue of events from which one can also take the events of some slots only."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._runs = deque[Run]()
        self._slots = bytearray()
        """Of the first runs, as far as they have been computed."""
        self._n_events = 0
        self._n_taken = 0
        self.n_bytes = 0
        self.parted_to = 0
        """Up to this offset those that wait may have others between them that are permitted too."""

    def __len__(self) -> int:
        return self._n_events - self._n_taken

    def extend(self, events: Events) -> None:
        """Append events, whose offsets must be higher than all before."""
        self._runs.extend(events.runs)
        self._n_events += len(events)
        self.n_bytes += events.n_bytes

    def part(self, events: Events) -> None:
        """These were taken from among the others, or are put there."""
        if events.runs:
            self.parted_to = max(self.parted_to, events.runs[-1].offsets[-1])

    def merge(self, events: Events) -> None:
        """Put events, which ascend, among those that wait, where they belong by their offsets."""
        self._compact()
        self.part(events)
        self._runs = deque(_merged(self._runs, deque(events.runs)))
        self._slots.clear()
        self._n_events += len(events)
        self.n_bytes += events.n_bytes

    def take_head(self, max_events: int | None = None) -> Events:
        """Take the oldest events, as many as one call may hold (or fewer, when told so) and at least one."""
        self._compact()
        call = _Call(max_events or self._max_events, self._max_bytes)
        runs = self._runs
        while runs and call.room_events:
            run = runs[0]
            n_added = call.add(run)
            if n_added < run.n_events:
                runs[0] = run.slice(n_added, run.n_events)
                break
            runs.popleft()
        events = call.events()
        self._n_events -= len(events)
        self.n_bytes -= events.n_bytes
        del self._slots[: len(events)]
        return events

    def count_free(self, busy: Set[int]) -> int:
        """How many waiting events are of a subject that no lane owns."""
        self._index()
        return len(self._slots) - len(self._slots.translate(None, _free(busy)))

    def take_groups(
        self, n_groups: int, busy: Set[int], max_events: int | None = None
    ) -> list[tuple[Events, Set[int]]]:
        """Take up to `n_groups` batches of the oldest events of slots that are not busy, each with its slots."""
        self._index()
        free = _free(busy)
        room = max_events or self._max_events
        taken = [self._take_slots(free[group::n_groups], room) for group in range(n_groups)]
        if self._n_taken * 2 > self._n_events:
            self._compact()
        return [(events, slots) for events, slots in taken if slots]

    def _take_slots(self, wanted: bytes, max_events: int) -> tuple[Events, Set[int]]:
        is_wanted, take = _tables(wanted)
        selected = self._slots.translate(is_wanted)
        call = _Call(max_events, self._max_bytes)
        owned: set[int] = set()
        at = 0
        for run in self._runs:
            start, at = at, at + run.n_events
            n_wanted = selected.count(1, start, at)
            if not n_wanted:
                continue
            chosen = selected[start:at]
            n_added = call.add(run if n_wanted == run.n_events else run.select(chosen))
            if n_added < n_wanted:
                at = start + next(islice(compress(count(), chosen), n_added, None))
            slots = self._slots[start:at]
            owned.update(compress(slots, chosen))
            self._slots[start:at] = slots.translate(take)
            if n_added < n_wanted:
                break
        events = call.events()
        self.part(events)
        self._n_taken += len(events)
        self.n_bytes -= events.n_bytes
        return events, owned

    def _index(self) -> None:
        missing = self._n_events - len(self._slots)
        fresh = []
        for run in reversed(self._runs):
            if missing <= 0:
                break
            fresh.append(run)
            missing -= run.n_events
        for run in reversed(fresh):
            self._slots += slots_of(run.subjects)

    def _compact(self) -> None:
        if not self._n_taken:
            return
        live = self._slots.translate(_IS_LIVE)
        live += b"\x01" * (self._n_events - len(live))
        self._runs = deque(Events(self._runs).select(live).compact().runs)
        self._slots = self._slots.translate(None, bytes((TAKEN,)))
        self._n_events -= self._n_taken
        self._n_taken = 0


class _Call:
    """Gathers events while they fit into one call."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.room_events = max_events
        self._room_bytes = max_bytes
        self._runs: list[Run] = []

    def add(self, run: Run) -> int:
        """Add as many of the first events as fit, but one at least to an empty call; return how many."""
        if run.n_events > self.room_events:
            run = run.slice(0, self.room_events)
        if run.n_bytes > self._room_bytes:
            run = run.slice(0, max(run.n_fitting(self._room_bytes), 0 if self._runs else 1))
        if run.n_events:
            self.room_events -= run.n_events
            self._room_bytes -= run.n_bytes
            self._runs.append(run)
        return run.n_events

    def events(self) -> Events:
        """What was added."""
        return Events(self._runs)


def _merged(one: deque[Run], other: deque[Run]) -> Iterator[Run]:
    """The runs of both, cut so that their offsets ascend; both are used up."""
    while one and other:
        if one[0].offsets[0] > other[0].offsets[0]:
            one, other = other, one
        run = one.popleft()
        n_before = bisect_left(run.offsets, other[0].offsets[0])
        yield run.slice(0, n_before)
        if n_before < run.n_events:
            one.appendleft(run.slice(n_before, run.n_events))
    yield from one
    yield from other


def _tables(wanted: bytes) -> tuple[bytes, bytes]:
    """What maps slots to whether they are wanted, and what marks the wanted ones as taken."""
    is_wanted, take = bytearray(256), bytearray(range(256))
    for slot in wanted:
        is_wanted[slot], take[slot] = 1, TAKEN
    return bytes(is_wanted), bytes(take)


def _free(busy: Set[int]) -> bytes:
    return _ALL_SLOTS.translate(None, bytes(busy))
