"""How every offset past the cursor ended, and how far the cursor may therefore move.

Pure: no threads, no clock, no disk. One byte per offset says how it ended, so that whole rows are marked, searched and
counted at the speed of memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby, islice
from typing import NamedTuple

from sluicegate.audit import words
from sluicegate.audit.column import Versions, add_version, add_versions
from sluicegate.delivery.beyond import BLOCK, Block, News, Remembered, block_of
from sluicegate.eventlog.runs import Events

UNFINISHED = 0
DELIVERED = 1
DEAD = 2
EXPIRED = 3
DAMAGED = 4
HELD = 5
REDACTED = 6
"""Delivered without the person in it."""
_KEPT = {DELIVERED: words.DELIVERED, REDACTED: words.REDACTED}
_STATES = {word: state for state, word in _KEPT.items()}
FIRST_REASON = 7
"""The first byte that stands for a reason of denial; there is room for 248 of them and "other"."""


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
    epoch: int = 0
    """Of the process that gave it up, 0 for the one that runs; `config_hash` tells how that was configured."""
    config_hash: str = ""


class HeldRow(NamedTuple):
    """One event that waits for a decision: the numbers of its first id and of its second, if it has two, and when it
    arrived (Unix ms)."""

    offset: int
    subject: int
    also: int | None
    arrived_ms: int


@dataclass(slots=True)
class Progress:
    """What lies between an old cursor and a new one; the counts and `dead` add up to their distance.

    `codes` has how each event ended, in the codes of the settlement, `versions` the ledger versions by which.
    """

    cursor: int
    delivered: int = 0
    expired: int = 0
    damaged: int = 0
    denied: dict[str, int] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    held: list[HeldRow] = field(default_factory=list)
    codes: bytearray = field(default_factory=bytearray, compare=False, repr=False)
    versions: Versions = field(default_factory=list, compare=False, repr=False)
    redacted: int = 0
    """How many of the delivered went redacted."""

    def __len__(self) -> int:
        settled = self.delivered + self.expired + self.damaged + sum(self.denied.values())
        return settled + len(self.dead) + len(self.held)

    def add(self, later: Progress) -> None:
        """Append what followed."""
        self.cursor = later.cursor
        self.delivered += later.delivered
        self.expired += later.expired
        self.damaged += later.damaged
        for reason, count in later.denied.items():
            self.denied[reason] = self.denied.get(reason, 0) + count
        self.dead += later.dead
        self.held += later.held
        self.codes += later.codes
        add_versions(self.versions, later.versions)
        self.redacted += later.redacted


@dataclass(slots=True)
class Aside:
    """How events ended that the cursor has passed before: dead letters by their ids, held events by their offsets."""

    delivered: list[int] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    denied: dict[int, str] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    """Of the ledger, by which each was decided."""
    redacted: set[int] = field(default_factory=set)
    """Those of the delivered that went redacted."""

    def __bool__(self) -> bool:
        return bool(self.delivered or self.dead or self.denied)

    def __len__(self) -> int:
        return len(self.delivered) + len(self.dead) + len(self.denied)

    def add(self, later: Aside) -> None:
        """Append what followed."""
        self.delivered += later.delivered
        self.dead += later.dead
        self.denied |= later.denied
        self.versions |= later.versions
        self.redacted |= later.redacted

    def deliver(self, numbers: Sequence[int], version: int, *, redacted: bool = False) -> None:
        """These were delivered, by this version of the ledger."""
        self.delivered += numbers
        if redacted:
            self.redacted.update(numbers)
        self.versions.update(dict.fromkeys(numbers, version))

    def deny(self, number: int, reason: str, version: int) -> None:
        """This one turned out not to be for this destination."""
        self.denied[number] = reason
        self.versions[number] = version

    def bury(self, dead: Dead, version: int) -> None:
        """This one is dead."""
        self.dead.append(dead)
        self.versions[dead.offset] = version


class Settlement:
    """The states of all offsets after `cursor`, of which the first is unfinished once `advance` has run."""

    def __init__(self, cursor: int, remembered: Remembered | None = None) -> None:
        """`remembered` is what earlier processes have settled beyond the cursor: it stays as they left it."""
        self.cursor = cursor
        self._states = bytearray()
        self._dead: dict[int, Dead] = {}
        self._held: dict[int, HeldRow] = {}
        self._reasons: list[str] = []
        self._version = 0
        self._versions: array[int] | None = None
        """Of each offset, while they are not all decided under `_version`."""
        self._remembered = Remembered() if remembered is None else remembered
        self.news = News(self._remembered)
        """What the next process is to know, should this one end."""

    def __len__(self) -> int:
        return len(self._states)

    @property
    def last(self) -> int:
        """The last offset whose state is known here; reading goes on after it."""
        return self.cursor + len(self._states)

    @property
    def reasons(self) -> Sequence[str]:
        """The reasons of denial that codes stand for, from `FIRST_REASON` on."""
        return self._reasons

    def code(self, reason: str) -> int:
        """The byte that stands for a reason of denial; the 249th and later reasons share "other"."""
        if reason not in self._reasons:
            if len(self._reasons) == 255 - FIRST_REASON:
                self._reasons.append("other")
            if len(self._reasons) > 255 - FIRST_REASON:
                return 255
            self._reasons.append(reason)
        return FIRST_REASON + self._reasons.index(reason)

    def counted_as(self, reason: str) -> str:
        """The reason by which a denial is counted that no code is kept for: the same, or "other"."""
        return self._reasons[self.code(reason) - FIRST_REASON]

    def extend(self, states: bytes, version: int = 0) -> None:
        """Add the offsets that follow, in the states they begin with, by this version of the ledger."""
        if version != self._version or self._versions is not None:
            self._extend_versions(len(states), version)
        self._states += states
        if self._remembered:
            self._recall(len(states))

    def expire(self, count: int) -> None:
        """Add offsets that are no longer in the log."""
        self.extend(bytes((EXPIRED,)) * count, self._version)

    def lose(self, count: int) -> None:
        """Add offsets that are in the log but damaged."""
        self.extend(bytes((DAMAGED,)) * count, self._version)

    def deliver(self, offsets: Sequence[int], version: int = 0, *, redacted: bool = False) -> None:
        """Mark unfinished offsets, which ascend, as delivered by this version of the ledger, perhaps redacted."""
        if not offsets:
            return
        self._decide(offsets, version)
        self.news.touch(offsets[0], offsets[-1])
        states, before = self._states, self.cursor + 1
        first, last = offsets[0] - before, offsets[-1] - before
        state = REDACTED if redacted else DELIVERED
        if last - first + 1 == len(offsets):
            states[first : last + 1] = bytes((state,)) * len(offsets)
        else:
            for offset in offsets:
                states[offset - before] = state

    def deny(self, offset: int, reason: str, version: int = 0) -> None:
        """Mark an unfinished offset as denied."""
        self._decide((offset,), version)
        self.news.touch(offset, offset)
        self._states[offset - self.cursor - 1] = self.code(reason)

    def hold(self, rows: Iterable[HeldRow]) -> None:
        """Say of offsets, which ascend and are being added as `HELD`, who waits there."""
        self._held.update([(row.offset, row) for row in rows])

    @property
    def n_held(self) -> int:
        """How many offsets after the cursor are held."""
        return len(self._held)

    def held(self, numbers: Set[int] | None) -> list[int]:
        """The held offsets after the cursor of these subjects, of everybody for None."""
        if numbers is None:
            return sorted(self._held)
        return sorted(row.offset for row in self._held.values() if row.subject in numbers or row.also in numbers)

    def reopen(self, offsets: Iterable[int]) -> None:
        """Mark held offsets as unfinished."""
        for offset in offsets:
            del self._held[offset]
            self._states[offset - self.cursor - 1] = UNFINISHED

    def end_hold(self, offset: int, reason: str, version: int = 0) -> None:
        """Mark a held offset as denied."""
        self._decide((offset,), version)
        self.news.touch(offset, offset)
        del self._held[offset]
        self._states[offset - self.cursor - 1] = self.code(reason)

    def lose_hold(self, offset: int, *, damaged: bool) -> None:
        """Mark a held offset as damaged, or as no longer in the log."""
        del self._held[offset]
        self._states[offset - self.cursor - 1] = DAMAGED if damaged else EXPIRED

    def bury(self, dead: Dead, version: int = 0) -> None:
        """Mark an unfinished offset as dead."""
        self._decide((dead.offset,), version)
        self._states[dead.offset - self.cursor - 1] = DEAD
        self._dead[dead.offset] = dead
        self.news.bury(dead)

    def advance(self) -> Progress:
        """Move the cursor to before the first unfinished offset, and forget and return what it passed."""
        length = self._states.find(UNFINISHED)
        if length < 0:
            length = len(self._states)
        passed = self._states[:length]
        del self._states[:length]
        self.cursor += length
        if length:
            self.news.passed(self.cursor)
        progress = Progress(self.cursor, delivered=passed.count(DELIVERED), codes=passed)
        self._pass_versions(length, progress.versions)
        if progress.delivered < length:
            self._count_rest(passed, progress)
        return progress

    # What is settled beyond the cursor

    def blocks(self) -> list[Block]:
        """The blocks that have changed since they were kept last; asked after `advance`."""
        reasons = enumerate(self._reasons, FIRST_REASON)
        kept = _KEPT | {code: words.denied(reason) for code, reason in reasons}
        return [block for number in self.news.numbers if (block := self._block(number, kept)) is not None]

    def marks(self, first: int, n: int) -> bytes:
        """Which of so many offsets that are to be added are settled already, a byte that is not 0 for each; perhaps
        none at all."""
        return self._remembered.marks(first, n) if self._remembered else b""

    def take_dead(self, events: Events) -> tuple[Events, list[int]]:
        """Bury the events that are dead already, after their offsets were added.

        Returns the others, and the offsets of those that have to go redacted now, so that no letter may keep them.
        """
        if not self._remembered.dead:
            return events, []
        rest, dead, redacted = self._remembered.take_dead(events)
        for one, version in dead:
            self.bury(one, version)
        return rest, redacted

    def version_of(self, offset: int) -> int:
        """The version of the ledger by which an offset after the cursor was decided."""
        return self._version if self._versions is None else self._versions[offset - self.cursor - 1]

    def _block(self, number: int, kept: Mapping[int, str]) -> Block | None:
        first, end = max(number * BLOCK, self.cursor + 1), min((number + 1) * BLOCK, self.last + 1)
        place = slice(first - self.cursor - 1, end - self.cursor - 1)
        versions = self._version if self._versions is None else self._versions[place]
        rest = self._remembered.blocks.get(number)
        return block_of(number, first, self._states[place], versions, words=kept, rest=rest)

    def _recall(self, n: int) -> None:
        """Put the offsets that were added last into the states that are remembered."""
        for ending, offsets in self._remembered.endings(self.last - n + 1, n):
            self._decide(offsets, ending.version)
            state = _STATES.get(ending.word) or self.code(words.reason_of(ending.word))
            for offset in offsets:
                self._states[offset - self.cursor - 1] = state
        self._remembered.forget(self.last)

    # Versions of the ledger

    def _extend_versions(self, count: int, version: int) -> None:
        if not self._states:
            self._version, self._versions = version, None
        elif count:
            self._all_versions().extend(array("Q", (version,)) * count)

    def _all_versions(self) -> array[int]:
        if self._versions is None:
            self._versions = array("Q", (self._version,)) * len(self._states)
        return self._versions

    def _decide(self, offsets: Sequence[int], version: int) -> None:
        """Note the version by which offsets, which ascend, were decided; nothing to do while there is one alone."""
        if self._versions is None and version == self._version:
            return
        versions, before = self._all_versions(), self.cursor + 1
        first, last = offsets[0] - before, offsets[-1] - before
        if last - first + 1 == len(offsets):
            versions[first : last + 1] = array("Q", (version,)) * len(offsets)
        else:
            for offset in offsets:
                versions[offset - before] = version

    def _pass_versions(self, length: int, runs: Versions) -> None:
        if self._versions is None:
            add_version(runs, length, self._version)
            return
        for version, equal in groupby(self._versions[:length]):
            add_version(runs, len(list(equal)), version)
        del self._versions[:length]
        if not self._versions:
            self._versions = None

    def _count_rest(self, passed: bytearray, progress: Progress) -> None:
        progress.redacted = passed.count(REDACTED)
        progress.delivered += progress.redacted
        progress.expired = passed.count(EXPIRED)
        progress.damaged = passed.count(DAMAGED)
        for code, reason in enumerate(self._reasons, FIRST_REASON):
            if count := passed.count(code):
                progress.denied[reason] = progress.denied.get(reason, 0) + count  # a plugin may say "other" too
        if self._held and (n_held := passed.count(HELD)):
            progress.held = [self._held.pop(offset) for offset in list(islice(self._held, n_held))]
        if self._dead and passed.count(DEAD):
            first = self.cursor - len(passed)
            for offset in sorted(o for o in self._dead if first < o <= self.cursor):
                progress.dead.append(self._dead.pop(offset))
