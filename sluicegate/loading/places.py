"""The places for destinations with a process: who gets a free one, and who has to make one."""

from __future__ import annotations

from collections.abc import Collection

from sluicegate.loading.bursts import Bursts
from sluicegate.loading.lifecycle import Lifecycle
from sluicegate.loading.slot import Slot
from sluicegate.loading.waiting import Waiting, resting, victims


class Places:
    """At most `max_loaded` processes at a time, ending ones too, and only a few starts at once."""

    def __init__(self, max_loaded: int, life: Lifecycle) -> None:
        self._max_loaded = max_loaded
        self._life = life
        self._waiting = Waiting()
        self._bursts = Bursts()

    def awaits(self, id: str) -> bool:
        """Whether it is due to start and waits for its turn."""
        return id in self._waiting

    def fill(self, slots: Collection[Slot], now: float) -> None:
        """Give free places to those that have waited longest; make places if there are none."""
        for slot in slots:
            if slot.wanted and slot.due(now):
                self._waiting.add(slot)
        self._waiting.drop_undue(now)
        if not self._waiting:
            return
        processes = [slot.process for slot in slots if slot.process is not None]
        free = self._max_loaded - len(processes)
        self._bursts.begin(now)
        while free > 0 and self._waiting and self._bursts.take():
            self._life.spawn(self._waiting.next(), now)
            free -= 1
        self._make_room(slots, len(self._waiting) - free - sum(process.ending for process in processes), now)
        self._waiting.mark()

    def _make_room(self, slots: Collection[Slot], n_places: int, now: float) -> None:
        """Of those that have nothing to deliver, then of those that an outage keeps from it."""
        idle = victims(slots, n_places)
        for slot in idle:
            self._life.evict(slot, now)
        for slot in resting(slots, n_places - len(idle), now):
            if slot.process is not None:
                self._life.give_place(slot, slot.process, now)

    def next_deadline(self) -> float | None:
        """When more may be started that wait; None when that depends on others."""
        return self._bursts.next_at() if self._waiting else None
