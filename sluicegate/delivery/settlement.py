"""How every offset past the cursor ended, and how far the cursor may therefore move.

Pure: no threads, no clock, no disk. One byte per offset says how it ended, so that whole rows are marked, searched and
counted at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

UNFINISHED = 0
DELIVERED = 1
DEAD = 2
EXPIRED = 3
DAMAGED = 4
FIRST_REASON = 5
"""The first byte that stands for a reason of denial; there is room for 250 of them and "other"."""


class Stage(StrEnum):
    """What an event died of."""

    REJECTED = "rejected"
    """The vendor will never take it."""
    GIVEN_UP = "given_up"
    """It failed for too long while others went through."""
    CRASHED = "crashed"
    """The process died each time that it was delivered."""


@dataclass(frozen=True, slots=True)
class Dead:
    """An event that was given up: why, after how many attempts, and when the first and last were (monotonic).

    `reason` is the last error, `first_error` that of the first attempt; `status` and `response` are what the vendor
    answered last, if it did.
    """

    offset: int
    message_id: str
    raw: bytes
    reason: str
    attempts: int
    first_attempt: float
    last_attempt: float
    stage: Stage = Stage.REJECTED
    first_error: str = ""
    status: int | None = None
    response: str = ""


@dataclass(slots=True)
class Progress:
    """What lies between an old cursor and a new one; the counts and `dead` add up to their distance."""

    cursor: int
    delivered: int = 0
    expired: int = 0
    damaged: int = 0
    denied: dict[str, int] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)

    def __len__(self) -> int:
        return self.delivered + self.expired + self.damaged + sum(self.denied.values()) + len(self.dead)

    def add(self, later: Progress) -> None:
        """Append what followed."""
        self.cursor = later.cursor
        self.delivered += later.delivered
        self.expired += later.expired
        self.damaged += later.damaged
        for reason, count in later.denied.items():
            self.denied[reason] = self.denied.get(reason, 0) + count
        self.dead += later.dead


class Settlement:
    """The states of all offsets after `cursor`, of which the first is unfinished once `advance` has run."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self._states = bytearray()
        self._dead: dict[int, Dead] = {}
        self._reasons: list[str] = []

    def __len__(self) -> int:
        return len(self._states)

    @property
    def last(self) -> int:
        """The last offset whose state is known here; reading goes on after it."""
        return self.cursor + len(self._states)

    def code(self, reason: str) -> int:
        """The byte that stands for a reason of denial; the 251st and later reasons share "other"."""
        if reason not in self._reasons:
            if len(self._reasons) == 255 - FIRST_REASON:
                self._reasons.append("other")
            if len(self._reasons) > 255 - FIRST_REASON:
                return 255
            self._reasons.append(reason)
        return FIRST_REASON + self._reasons.index(reason)

    def extend(self, states: bytes) -> None:
        """Add the offsets that follow, in the states they begin with."""
        self._states += states

    def expire(self, count: int) -> None:
        """Add offsets that are no longer in the log."""
        self._states += bytes((EXPIRED,)) * count

    def lose(self, count: int) -> None:
        """Add offsets that are in the log but damaged."""
        self._states += bytes((DAMAGED,)) * count

    def deliver(self, offsets: Sequence[int]) -> None:
        """Mark unfinished offsets, which ascend, as delivered."""
        if not offsets:
            return
        states, before = self._states, self.cursor + 1
        first, last = offsets[0] - before, offsets[-1] - before
        if last - first + 1 == len(offsets):
            states[first : last + 1] = b"\x01" * len(offsets)
        else:
            for offset in offsets:
                states[offset - before] = DELIVERED

    def deny(self, offset: int, reason: str) -> None:
        """Mark an unfinished offset as denied."""
        self._states[offset - self.cursor - 1] = self.code(reason)

    def bury(self, dead: Dead) -> None:
        """Mark an unfinished offset as dead."""
        self._states[dead.offset - self.cursor - 1] = DEAD
        self._dead[dead.offset] = dead

    def advance(self) -> Progress:
        """Move the cursor to before the first unfinished offset, and forget and return what it passed."""
        length = self._states.find(UNFINISHED)
        if length < 0:
            length = len(self._states)
        passed = self._states[:length]
        del self._states[:length]
        self.cursor += length
        progress = Progress(self.cursor, delivered=passed.count(DELIVERED))
        if progress.delivered < length:
            self._count_rest(passed, progress)
        return progress

    def _count_rest(self, passed: bytearray, progress: Progress) -> None:
        progress.expired = passed.count(EXPIRED)
        progress.damaged = passed.count(DAMAGED)
        for code, reason in enumerate(self._reasons, FIRST_REASON):
            if count := passed.count(code):
                progress.denied[reason] = count
        if self._dead and passed.count(DEAD):
            first = self.cursor - len(passed)
            for offset in sorted(o for o in self._dead if first < o <= self.cursor):
                progress.dead.append(self._dead.pop(offset))
