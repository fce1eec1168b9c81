"""What is in a destination's store, on a disk that forgets what was written last when power is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sluicegate.accounts import StoreState
from sluicegate.audit.words import DEAD, denied
from sluicegate.consent.standing import ERASED
from sluicegate.delivery.beyond import Beyond, Block, Remembered
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.delivery.restraint import Restraint
from sluicegate.eventlog.base import Offset
from tests.simulation.clock import Violation
from tests.simulation.held import NOTHING_HELD, HeldState, HeldTable


@dataclass(frozen=True, slots=True)
class Moved:
    """A cursor that has moved, and how each event that it passed ended, in the words of the audit."""

    before: int
    after: int
    words: Sequence[str]
    letters: Sequence[DeadLetter] = field(default=(), repr=False)  # they have times of the real clock
    refused: Sequence[Offset] = ()
    """Those of the held for which there was no room."""
    by_router: bool = False
    settled: Mapping[Offset, str] = field(default_factory=dict)
    """How those of them had ended that were settled before the cursor came to them."""


@dataclass(slots=True)
class Content:
    """What one store's file holds."""

    epoch: int
    start: int
    cursor: int
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    letters: dict[int, DeadLetter] = field(default_factory=dict)
    last_letter: int = 0
    retries: Sequence[PendingRetry] = ()
    restraint: Restraint | None = None
    deaths: dict[tuple[int, int], tuple[int, bool]] = field(default_factory=dict)
    """By offset and epoch the number of the call, and whether the event was alone."""
    held: HeldState = NOTHING_HELD
    blocks: dict[int, Block] = field(default_factory=dict)
    """What is settled beyond the cursor, by the number of the block; `stories` are of the dead there."""
    stories: dict[Offset, DeadLetter] = field(default_factory=dict)
    decided: list[str] = field(default_factory=list)
    """How each event after `start` up to the cursor stands, in the words of the audit."""

    def copy(self) -> Content:
        return replace(
            self,
            denied=Counter(self.denied),
            letters=dict(self.letters),
            deaths=dict(self.deaths),
            decided=list(self.decided),
            blocks=dict(self.blocks),
            stories=dict(self.stories),
        )

    @property
    def settled_to(self) -> Offset:
        """The last offset that is settled beyond the cursor, 0 when none is."""
        ends = [*(block.last for block in self.blocks.values()), *self.stories]
        return max((offset for offset in ends if offset > self.cursor), default=0)

    def ending(self, offset: Offset) -> str | None:
        """How an event beyond the cursor has ended, as far as that was committed."""
        # One that died may be forbidden when the next process reads it; its story stays until the cursor has passed.
        for ending, _ in Remembered(self.blocks).endings(offset, 1):
            return ending.word
        return DEAD if offset in self.stories else None

    def endings(self, first: Offset, n: int) -> dict[Offset, str]:
        """The same of all of so many events, but for the dead: their letters may be forbidden since."""
        found = Remembered(self.blocks).endings(first, n)
        return {offset: ending.word for ending, offsets in found for offset in offsets}

    def pass_beyond(self) -> None:
        """Let go of what the cursor has passed."""
        self.blocks = {number: block for number, block in self.blocks.items() if block.last > self.cursor}
        self.stories = {offset: story for offset, story in self.stories.items() if offset > self.cursor}

    def decide(self, offset: Offset, word: str, *, was: str) -> None:
        """An event that the cursor has passed goes from one account to another."""
        at = offset - self.start - 1
        if self.decided[at] != was:
            raise Violation(f"event {offset} goes from {was} to {word}, but it was {self.decided[at]}")
        self.decided[at] = word


class Watcher(Protocol):
    """Hears of every change of a store."""

    def claimed(self, id: str, epoch: int) -> None: ...
    def settled_beyond(self, id: str, beyond: Beyond, before: Mapping[Offset, str]) -> None: ...
    def moved(self, id: str, epoch: int, change: Moved) -> None: ...
    def unheld(self, id: str, epoch: int, words: Mapping[Offset, str], letters: Sequence[DeadLetter]) -> None: ...
    def released(self, id: str, offsets: Sequence[Offset]) -> None: ...
    def replayed(self, id: str, letters: Sequence[DeadLetter], *, delivered: bool) -> None: ...


class StoreFile:
    """One destination's store on disk; what was committed last may not be synced yet."""

    def __init__(self, id: str, start: int, watcher: Watcher) -> None:
        self.id = id
        self.watcher = watcher
        self.content = Content(0, start, start)
        self.table = HeldTable()
        self.version = 0
        self._before: list[Content] = []

    @property
    def state(self) -> StoreState:
        now = self.content
        return StoreState(
            now.epoch,
            now.start,
            now.cursor,
            now.delivered,
            now.dead,
            now.expired,
            dict(now.denied),
            held=now.held.n_held,
            considered=now.held.considered,
            held_under=now.held.under,
            settled_to=now.settled_to,
        )

    def restrained_s(self, now: float) -> float:
        """How long the vendor is left alone yet, by what is remembered."""
        restraint = self.content.restraint
        if restraint is None:
            return 0.0
        open_until = now if restraint.outage is None else restraint.outage.until
        return max(0.0, restraint.not_before - now, open_until - now)

    def change(self) -> Content:
        """The content, to be changed in one transaction that the caller completes."""
        self._before.append(self.content.copy())
        if len(self._before) > 3:
            del self._before[0]
        self.version += 1
        return self.content

    def sync(self) -> None:
        """A checkpoint: a power cut keeps everything up to here."""
        self._before.clear()

    def cut(self, choose: Callable[[int], int]) -> None:
        """Power is gone, and with it the last commits, as many as `choose` says."""
        kept = [*self._before, self.content]
        self.content = kept[choose(len(kept))].copy()
        self.table.restore(self.content.held)
        self._before.clear()

    def replays(self) -> list[DeadLetter]:
        """The letters that wait for replay, oldest first."""
        return [letter for letter in self.content.letters.values() if letter.status is LetterStatus.REPLAY]

    def mark_replay(self) -> int:
        """Ask for delivery again of all dead letters, as an operator does; return how many were marked."""
        dead = [letter for letter in self.content.letters.values() if letter.status is LetterStatus.DEAD]
        if dead:
            letters = self.change().letters
            for letter in dead:
                letters[letter.id] = replace(letter, status=LetterStatus.REPLAY)
        return len(dead)

    def erase(self, is_theirs: Callable[[DeadLetter], bool], was_erased: Callable[[Offset], bool]) -> int:
        """What `delivery.erasing_store` does, synced: the letters go, and what was said of failures is forgotten."""
        theirs = [letter for letter in self.content.letters.values() if is_theirs(letter)]
        told = [any(map(was_erased, retry.offsets)) for retry in self.content.retries]
        if theirs or any(told):
            content = self.change()
            for letter in theirs:
                del content.letters[letter.id]
                content.decide(letter.offset, denied(ERASED), was=DEAD)
            content.dead -= len(theirs)
            content.denied[ERASED] += len(theirs)
            content.retries = [
                replace(retry, first_error=ERASED) if is_told else retry
                for retry, is_told in zip(content.retries, told, strict=True)
            ]
        if any(map(was_erased, self.content.stories)):
            content = self.change()
            content.stories = {o: story for o, story in content.stories.items() if not was_erased(o)}
        self.sync()
        return len(theirs)
