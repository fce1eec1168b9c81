"""The model of a destination's store: the same contract as `sluicegate.delivery.store`, with a disk that forgets.

`test_store_model` holds it against the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

from sluicegate.accounts import StoreState
from sluicegate.audit.chain import Decisions
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED
from sluicegate.audit.words import denied as denied_word
from sluicegate.delivery.decided import in_order
from sluicegate.delivery.held import Holds
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.delivery.recovery import Suspect
from sluicegate.delivery.restraint import Restraint
from sluicegate.errors import StaleEpoch


@dataclass(frozen=True, slots=True)
class Moved:
    """A cursor that has moved, and what was counted for it."""

    before: int
    after: int
    delivered: int
    expired: int
    denied: Mapping[str, int]
    letters: Sequence[DeadLetter] = field(repr=False)  # they have times of the real clock
    by_router: bool = False


@dataclass(slots=True)
class _Content:
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

    decided: list[str] = field(default_factory=list)
    """How each event after `start` ended when the cursor passed it, in the words of the audit."""

    def copy(self) -> _Content:
        return replace(
            self,
            denied=Counter(self.denied),
            letters=dict(self.letters),
            deaths=dict(self.deaths),
            decided=list(self.decided),
        )


def _told(
    delivered: int,
    expired: int,
    denied: Mapping[str, int],
    *,
    dead: Sequence[DeadLetter],
    decisions: Decisions | None,
) -> list[str]:
    """The decisions, which say of every event what is counted of them all."""
    if decisions is None:
        decisions = in_order(delivered, expired, 0, denied)
        for _ in dead:
            decisions.column.add_run(DEAD, 1)
    told = [word for word, n in decisions.column.runs() for _ in range(n)]
    counted = {DELIVERED: delivered, EXPIRED: expired, DEAD: len(dead)}
    counted |= {denied_word(reason): n for reason, n in denied.items()}
    if Counter(told) != Counter(counted):
        raise AssertionError(f"{Counter(told)} is told, but {counted} is counted")
    return told


class Watcher(Protocol):
    """Hears of every change of a store."""

    def claimed(self, id: str, epoch: int) -> None: ...
    def moved(self, id: str, epoch: int, change: Moved) -> None: ...
    def replayed(self, id: str, letters: Sequence[DeadLetter], *, delivered: bool) -> None: ...


class StoreFile:
    """One destination's store on disk; what was committed last may not be synced yet."""

    def __init__(self, id: str, start: int, watcher: Watcher) -> None:
        self.id = id
        self.watcher = watcher
        self.content = _Content(0, start, start)
        self.version = 0
        self._before: list[_Content] = []

    @property
    def state(self) -> StoreState:
        now = self.content
        return StoreState(now.epoch, now.start, now.cursor, now.delivered, now.dead, now.expired, dict(now.denied))

    def restrained_s(self, now: float) -> float:
        """How long the vendor is left alone yet, by what is remembered."""
        restraint = self.content.restraint
        if restraint is None:
            return 0.0
        open_until = now if restraint.outage is None else restraint.outage.until
        return max(0.0, restraint.not_before - now, open_until - now)

    def change(self) -> _Content:
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


class _Letters:
    """The letters of an open store."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def replays(self, *, limit: int) -> Sequence[DeadLetter]:
        self._store.enter()
        return self._store.file.replays()[:limit]


class ModelStore:
    """An open store, as one process has it; `enter` may raise what a disk raises."""

    def __init__(self, file: StoreFile, *, enter: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self.enter = enter
        self.letters = _Letters(self)
        self._own_changes = 0

    @property
    def state(self) -> StoreState:
        return self.file.state

    def claim(self, epoch: int) -> StoreState:
        self.enter()
        if epoch <= self.file.content.epoch:
            raise StaleEpoch(f"{self.file.id}: epoch {epoch} comes after epoch {self.file.content.epoch}")
        self._change().epoch = epoch
        self.file.watcher.claimed(self.file.id, epoch)
        return self.file.state

    def commit(
        self,
        epoch: int,
        *,
        cursor: int,
        delivered: int = 0,
        expired: int = 0,
        damaged: int = 0,
        denied: Mapping[str, int] | None = None,
        dead_letters: Sequence[DeadLetter] = (),
        retries: Sequence[PendingRetry] | None = None,
        restraint: Restraint | None = None,
        held: Holds | None = None,
        decisions: Decisions | None = None,
        redacted: int = 0,
    ) -> None:
        assert not damaged, "the model log does not decay"
        assert not redacted, "nothing goes redacted in the model"
        assert held is None, "nobody decides later in the model"
        self.enter()
        denied = denied or {}
        before = self.file.content.cursor
        self.check_epoch(epoch)
        if delivered + expired + sum(denied.values()) + len(dead_letters) != cursor - before:
            raise ValueError(f"the cursor moves from {before} to {cursor} but other counts are given")
        told = _told(delivered, expired, denied, dead=dead_letters, decisions=decisions)
        content = self._change()
        content.decided += told
        content.cursor = cursor
        content.delivered += delivered
        content.expired += expired
        content.denied.update(denied)
        content.dead += len(dead_letters)
        for letter in dead_letters:
            content.last_letter += 1
            content.letters[content.last_letter] = replace(letter, id=content.last_letter)
        if retries is not None:
            content.retries = [replace(retry, offsets=list(retry.offsets)) for retry in retries]
        content.restraint = restraint or content.restraint
        self._forget_deaths(content)
        self.file.watcher.moved(
            self.file.id, epoch, Moved(before, cursor, delivered, expired, dict(denied), dead_letters)
        )

    def note_deaths(
        self, epoch: int, died: int, *, calls: Sequence[Sequence[int]], replayed: Sequence[int], reason: str
    ) -> None:
        self.enter()
        self.check_epoch(epoch)
        content = self._change()
        alone = len(calls) == 1 and len(calls[0]) == 1 and not replayed
        for number, call in enumerate(calls):
            for offset in call:
                if offset > content.cursor:
                    content.deaths.setdefault((offset, died), (number, alone))
        for id in replayed:
            letter = content.letters.get(id)
            if letter is not None and letter.status is LetterStatus.REPLAY:
                content.letters[id] = replace(
                    letter, status=LetterStatus.DEAD, reason=reason, attempts=letter.attempts + 1
                )

    def unsettled(self) -> tuple[list[PendingRetry], list[Suspect]]:
        self.enter()
        content = self._change()
        self._forget_deaths(content)
        suspects = []
        for offset in sorted({offset for offset, _ in content.deaths}):
            deaths = {epoch: how for (one, epoch), how in content.deaths.items() if one == offset}
            first = min(deaths)
            alone = sum(how[1] for how in deaths.values())
            suspects.append(Suspect(offset, len(deaths), alone, (first, deaths[first][0])))
        return list(content.retries), suspects

    def _forget_deaths(self, content: _Content) -> None:
        if content.deaths:
            content.deaths = {key: how for key, how in content.deaths.items() if key[0] > content.cursor}

    def skip(
        self,
        *,
        expected_epoch: int,
        expected_cursor: int,
        cursor: int,
        denied: Mapping[str, int] | None = None,
        expired: int = 0,
        damaged: int = 0,
        decisions: Decisions | None = None,
    ) -> bool:
        assert not damaged, "the model log does not decay"
        self.enter()
        denied = denied or {}
        if expired + sum(denied.values()) != cursor - expected_cursor:
            raise ValueError(f"the cursor moves by {cursor - expected_cursor} but other counts are given")
        told = _told(0, expired, denied, dead=(), decisions=decisions)
        if (self.file.content.epoch, self.file.content.cursor) != (expected_epoch, expected_cursor):
            return False
        content = self._change()
        content.decided += told
        content.cursor = cursor
        content.expired += expired
        content.denied.update(denied)
        change = Moved(expected_cursor, cursor, 0, expired, dict(denied), (), by_router=True)
        self.file.watcher.moved(self.file.id, expected_epoch, change)
        return True

    def settle_replay(
        self,
        epoch: int,
        *,
        delivered: Sequence[int] = (),
        failed: Mapping[int, str],
        denied: Mapping[int, str],
        now_ms: int,
        versions: Mapping[int, int] | None = None,
        redacted: Set[int] = frozenset(),
    ) -> None:
        assert not redacted, "nothing goes redacted in the model"
        self.enter()
        self.check_epoch(epoch)
        content = self._change()
        gone = (LetterStatus.REPLAY, LetterStatus.DROPPED)
        taken = [
            content.letters.pop(i) for i in delivered if i in content.letters and content.letters[i].status in gone
        ]
        refused = [i for i in denied if i in content.letters and content.letters[i].status in gone]
        denied_letters = [content.letters.pop(i) for i in refused]
        content.delivered += len(taken)
        content.dead -= len(taken) + len(refused)
        content.denied.update(denied[i] for i in refused)
        for i, reason in failed.items():
            letter = content.letters.get(i)
            if letter is not None and letter.status is LetterStatus.REPLAY:
                content.letters[i] = replace(
                    letter,
                    status=LetterStatus.DEAD,
                    reason=reason,
                    attempts=letter.attempts + 1,
                    last_attempt_at_ms=now_ms,
                )
        self.file.watcher.replayed(self.file.id, taken, delivered=True)
        self.file.watcher.replayed(self.file.id, denied_letters, delivered=False)

    def data_version(self) -> int:
        self.enter()
        return self.file.version - self._own_changes

    def check_epoch(self, epoch: int) -> None:
        """The fence: only the newest claim may commit."""
        if epoch != self.file.content.epoch:
            raise StaleEpoch(f"{self.file.id}: epoch {epoch} was replaced by epoch {self.file.content.epoch}")

    def _change(self) -> _Content:
        self._own_changes += 1
        return self.file.change()
