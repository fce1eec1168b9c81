"""Requests to load several destinations, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sluicegate.loading.effects import BatchDone
from sluicegate.loading.pauses import in_words
from sluicegate.loading.slot import Slot
from sluicegate.loading.status import FAILING, State


@dataclass(slots=True)
class Attempt:
    """One load that a request waits for."""

    failures: int
    """What the slot had counted before; more means that the attempt failed."""
    deadline: float


@dataclass(slots=True)
class Batch:
    """One request: what has ended, what is under way, what has not begun."""

    request_id: str
    size: int
    rest: deque[str]
    under_way: dict[str, Attempt] = field(default_factory=dict)
    results: dict[str, str | None] = field(default_factory=dict)


class Batches:
    """All load requests that are not answered yet.

    Each id ends as loaded, or with the error of its first failed attempt. One that is backing off ends at once, with
    the error that it has; it stays wanted, and is loaded when its time comes.
    """

    def __init__(self, slots: Mapping[str, Slot], want: Callable[[Slot], None], *, patience_s: float) -> None:
        self._slots = slots
        self._want = want
        self._patience_s = patience_s
        self._batches: dict[str, Batch] = {}

    def add(self, request_id: str, ids: Iterable[str], *, batch_size: int) -> None:
        """Take a request; `advance` works on it."""
        self._batches[request_id] = Batch(request_id, max(batch_size, 1), deque(dict.fromkeys(ids)))

    def advance(self, now: float) -> list[BatchDone]:
        """Begin and end what can be; returns the requests that are complete."""
        done = []
        for batch in list(self._batches.values()):
            self._advance_one(batch, now)
            if not batch.rest and not batch.under_way:
                del self._batches[batch.request_id]
                done.append(BatchDone(batch.request_id, batch.results))
        return done

    def abandon(self, reason: str) -> list[BatchDone]:
        """End all requests; what is not loaded gets this reason."""
        done = []
        for batch in self._batches.values():
            for id in [*batch.under_way, *batch.rest]:
                batch.results[id] = reason
            done.append(BatchDone(batch.request_id, batch.results))
        self._batches.clear()
        return done

    def next_deadline(self) -> float | None:
        """When the next load is given up on."""
        deadlines = [attempt.deadline for batch in self._batches.values() for attempt in batch.under_way.values()]
        return min(deadlines, default=None)

    def _advance_one(self, batch: Batch, now: float) -> None:
        for id, attempt in list(batch.under_way.items()):
            ended, result = self._outcome(self._slots[id], attempt, now)
            if ended:
                del batch.under_way[id]
                batch.results[id] = result
        while batch.rest and len(batch.under_way) < batch.size:
            self._begin(batch, batch.rest.popleft(), now)

    def _begin(self, batch: Batch, id: str, now: float) -> None:
        slot = self._slots.get(id)
        if slot is None:
            batch.results[id] = f"no enabled destination is named {id!r}"
        elif slot.loaded:
            batch.results[id] = None
        elif slot.rest is State.PAUSED:
            batch.results[id] = in_words(slot.reason)
        else:
            self._want(slot)
            if slot.rest in FAILING and not slot.due(now):
                batch.results[id] = f"{slot.rest.value}: {slot.error}; try it now with `sluicegate retry {id}`"
            else:
                batch.under_way[id] = Attempt(slot.failures, now + self._patience_s)

    def _outcome(self, slot: Slot, attempt: Attempt, now: float) -> tuple[bool, str | None]:
        if slot.loaded:
            return True, None
        if slot.failures != attempt.failures:
            return True, slot.error
        if slot.rest is State.PAUSED:
            return True, in_words(slot.reason)
        if not slot.wanted:
            return True, "unloaded before it was loaded"
        if now >= attempt.deadline:
            return True, slot.reason or f"still {slot.state.value} after {self._patience_s:g} s"
        return False, None
