"""When memory runs short, and how many idle destinations have to end for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sluicegate.config.model import MIB
from sluicegate.loading.slot import Slot
from sluicegate.loading.waiting import victims
from sluicegate.pressure import MemoryUse

EVICTED = "evicted: memory"
"""The reason of a destination that was ended by this, until it is started again."""
MIN_LOADED_S = 10.0
"""One that was started since is left alone: what woke it may be about to reach it, and its start has cost something."""
PROCESS_BYTES = 32 * MIB
"""The most that the end of one frees: with rather one too few ended than one too many, the next look ends the rest."""


class Shedding:
    """Begins where `shed_percent` of the memory is in use, and goes on until no more than `keep_percent` is."""

    def __init__(self, *, shed_percent: int, keep_percent: int) -> None:
        """A `shed_percent` of 0 never begins."""
        self._shed_percent = shed_percent
        self._keep_percent = keep_percent
        self._going_on = False
        self.n_evicted = 0
        """Destinations that it has named so far."""

    def victims(self, slots: Iterable[Slot], memory: MemoryUse, now: float) -> list[Slot]:
        """Those to end now: the least recently used of those that have nothing to deliver and have run for a while."""
        slots = list(slots)
        ending = sum(slot.process is not None and slot.process.ending for slot in slots)
        found = victims((slot for slot in slots if _may_go(slot, now)), self._surplus(memory) - ending)
        self.n_evicted += len(found)
        return found

    def _surplus(self, memory: MemoryUse) -> int:
        """How many destinations the memory is short of; those that are ending already count too."""
        percent = memory.percent
        self._going_on = 0 < self._shed_percent <= percent or (self._going_on and percent > self._keep_percent)
        if not self._going_on:
            return 0
        return math.ceil((memory.used_bytes - memory.limit_bytes * self._keep_percent / 100) / PROCESS_BYTES)


def _may_go(slot: Slot, now: float) -> bool:
    return slot.loaded_at is not None and now - slot.loaded_at >= MIN_LOADED_S
