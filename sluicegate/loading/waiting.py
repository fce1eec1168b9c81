"""Who waits for a place among the loaded destinations, and who must make one."""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.loading.slot import Slot

REASON = "waiting for capacity"


class Waiting:
    """Destinations that are due to start, first come, first served."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: Slot) -> None:
        """Queue it, unless it is queued: it keeps its turn."""
        self._slots.setdefault(slot.id, slot)

    def drop_undue(self, now: float) -> None:
        """Forget those that need not start any more (paused or unloaded while they waited)."""
        for slot in [slot for slot in self._slots.values() if not slot.due(now)]:
            self._forget(slot)

    def __contains__(self, id: str) -> bool:
        return id in self._slots

    def next(self) -> Slot:
        """The one that has waited longest; it leaves the queue."""
        slot = next(iter(self._slots.values()))
        self._forget(slot)
        return slot

    def mark(self) -> None:
        """Show what they wait for in the status."""
        for slot in self._slots.values():
            slot.reason = REASON

    def _forget(self, slot: Slot) -> None:
        del self._slots[slot.id]
        if slot.reason == REASON:
            slot.reason = None


MIN_REST_S = 10.0
"""Whose next attempt is nearer keeps its place: a stop and a start would take a good part of that."""


def resting(slots: Iterable[Slot], count: int, now: float) -> list[Slot]:
    """The `count` of those that can deliver nothing for a while whose next attempt is furthest away."""
    found = [
        (slot.process.rests_until, slot.id, slot)
        for slot in slots
        if slot.process is not None and slot.loaded and not slot.process.caught_up
    ]
    found = sorted((one for one in found if one[0] >= now + MIN_REST_S), reverse=True)
    return [slot for _, _, slot in found[: max(count, 0)]]


def victims(slots: Iterable[Slot], count: int) -> list[Slot]:
    """The `count` least recently used of the loaded destinations that have nothing left to deliver."""
    idle = [slot for slot in slots if slot.process is not None and slot.loaded and slot.process.caught_up]
    idle.sort(key=lambda slot: (slot.last_used or 0.0, slot.id))
    return idle[: max(count, 0)]
