"""The model of a destination's store: the same contract as `sluicegate.delivery.store`, with a disk that forgets.

What holding does is the product's own (`delivery.held`); `test_store_model` holds all of it against the real store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from sluicegate.accounts import StoreState
from sluicegate.audit.chain import Decisions
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD
from sluicegate.audit.words import denied as denied_word
from sluicegate.delivery.beyond import Beyond, Remembered
from sluicegate.delivery.decided import in_order
from sluicegate.delivery.held import (
    HOLD_LIMIT,
    HeldChanges,
    Holds,
    insert_held,
    note_held_deaths,
    release_held,
    remove_held,
)
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.delivery.recovery import Suspect
from sluicegate.delivery.restraint import Restraint
from sluicegate.delivery.settlement import Dead
from sluicegate.delivery.walltime import monotonic_s
from sluicegate.errors import StaleEpoch
from sluicegate.eventlog.base import Offset
from tests.simulation.held import ModelHeld
from tests.simulation.storefile import Content, Moved, StoreFile


def _told(counted: Mapping[str, int], decisions: Decisions) -> list[str]:
    """The decisions, one a word, which say of every event what is counted of them all."""
    told = [word for word, n in decisions.column.runs() for _ in range(n)]
    if Counter(told) != Counter(counted):
        raise AssertionError(f"{Counter(told)} is told, but {counted} is counted")
    return told


def _counted(delivered: int, expired: int, denied: Mapping[str, int], *, dead: int, held: int) -> dict[str, int]:
    counted = {DELIVERED: delivered, EXPIRED: expired, DEAD: dead, HELD: held}
    return counted | {denied_word(reason): n for reason, n in denied.items()}


CONFIG_HASH = "as configured"


def _in_words_of(story: DeadLetter | None, letter: DeadLetter) -> DeadLetter:
    if story is None:
        return letter
    return replace(letter, reason=story.reason, first_error=story.first_error, response=story.response)


def _dead(story: DeadLetter) -> Dead:
    first, last = monotonic_s(story.first_attempt_at_ms), monotonic_s(story.last_attempt_at_ms)
    how = story.stage, story.first_error, story.http_status, story.response, story.epoch, story.config_hash
    return Dead(story.offset, "", b"", story.reason, story.attempts, first, last, *how)


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
        self.config_hash = CONFIG_HASH
        self.enter = enter
        self.letters = _Letters(self)
        self.held = ModelHeld(self)
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
        beyond: Beyond | None = None,
    ) -> None:
        assert not damaged, "the model log does not decay"
        assert not redacted, "nothing goes redacted in the model"
        self.enter()
        denied = denied or {}
        before = self.file.content.cursor
        self.check_epoch(epoch)
        counted = _counted(
            delivered, expired, denied, dead=len(dead_letters), held=0 if held is None else len(held.rows)
        )
        if sum(counted.values()) != cursor - before:
            raise ValueError(f"the cursor moves from {before} to {cursor} but other counts are given")
        if decisions is None:
            dead = [letter.offset for letter in dead_letters]
            decisions = in_order(delivered, expired, 0, denied, held=counted[HELD], dead=dead, first=before + 1)
        told = _told(counted, decisions)
        content = self._change()
        settled = content.endings(before + 1, cursor - before)
        said = content.endings(cursor + 1, max(0, content.settled_to - cursor))
        content.decided += told
        content.cursor = cursor
        content.delivered += delivered
        content.expired += expired
        content.denied.update(denied)
        told_before = content.stories
        self._bury(content, [_in_words_of(told_before.get(one.offset), one) for one in dead_letters])
        if beyond is not None:
            content.blocks |= {block.number: block for block in beyond.blocks}
            content.stories |= {one.offset: one for one in beyond.dead}
        content.pass_beyond()
        if retries is not None:
            content.retries = [replace(retry, offsets=list(retry.offsets)) for retry in retries]
        content.restraint = restraint or content.restraint
        self._forget_deaths(content)
        refused = self._hold(content, held)
        self.file.watcher.moved(
            self.file.id, epoch, Moved(before, cursor, told, dead_letters, refused, settled=settled)
        )
        if beyond is not None:
            self.file.watcher.settled_beyond(self.file.id, beyond, said)

    def remembered(self, epoch: int, *, head: Offset) -> Remembered:
        self.enter()
        self.check_epoch(epoch)
        content = self.file.content
        assert content.settled_to <= head, "the log ends before what was settled"
        stories = {offset: (_dead(story), story.ledger_version) for offset, story in content.stories.items()}
        return Remembered(dict(content.blocks), stories)

    def _hold(self, content: Content, held: Holds | None) -> list[Offset]:
        """Hold these, as they were counted; those for which there is no room are denied, and returned."""
        if held is None:
            return []
        refused = insert_held(self.file.table.db, held)
        content.held = self.file.table.state()
        for offset in refused:
            content.decide(offset, denied_word(HOLD_LIMIT), was=HELD)
            content.denied[HOLD_LIMIT] += 1
        return refused

    def settle_held(self, epoch: int, changes: HeldChanges) -> None:
        assert not changes.damaged, "the model log does not decay"
        assert not changes.redacted, "nothing goes redacted in the model"
        self.enter()
        self.check_epoch(epoch)
        content, db = self._change(), self.file.table.db
        there = set(remove_held(db, [dead.offset for dead in changes.dead]))
        letters = [dead for dead in changes.dead if dead.offset in there]
        words = dict.fromkeys(there, DEAD)
        words |= dict.fromkeys(remove_held(db, changes.delivered), DELIVERED)
        words |= dict.fromkeys(remove_held(db, changes.gone), EXPIRED)
        words |= {offset: denied_word(changes.denied[offset]) for offset in remove_held(db, changes.denied)}
        release_held(db, changes.released)
        if changes.considered is not None:
            db.execute("UPDATE state SET considered = ?, held_under = ?", (changes.considered, changes.under))
        content.held = self.file.table.state()
        self._unhold(content, words, letters)
        self.file.watcher.unheld(self.file.id, epoch, words, letters)
        self.file.watcher.released(self.file.id, changes.released)

    def _unhold(self, content: Content, words: Mapping[Offset, str], letters: Sequence[DeadLetter]) -> None:
        for offset, word in words.items():
            content.decide(offset, word, was=HELD)
            account, _, reason = word.partition(":")
            content.delivered += account == DELIVERED
            content.expired += account == EXPIRED
            if reason:
                content.denied[reason] += 1
        self._bury(content, letters)

    def _bury(self, content: Content, letters: Sequence[DeadLetter]) -> None:
        content.dead += len(letters)
        for letter in letters:
            content.last_letter += 1
            content.letters[content.last_letter] = replace(letter, id=content.last_letter)

    def note_deaths(
        self,
        epoch: int,
        died: int,
        *,
        calls: Sequence[Sequence[int]],
        replayed: Sequence[int],
        reason: str,
        released: Sequence[Offset] = (),
    ) -> None:
        self.enter()
        self.check_epoch(epoch)
        content = self._change()
        alone = len(calls) == 1 and len(calls[0]) == 1 and not (replayed or released)
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
        if released:
            note_held_deaths(self.file.table.db, died, released)
            content.held = self.file.table.state()

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

    def _forget_deaths(self, content: Content) -> None:
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
        held: Holds | None = None,
        decisions: Decisions | None = None,
    ) -> bool:
        assert not damaged, "the model log does not decay"
        self.enter()
        denied = denied or {}
        counted = _counted(0, expired, denied, dead=0, held=0 if held is None else len(held.rows))
        if sum(counted.values()) != cursor - expected_cursor:
            raise ValueError(f"the cursor moves by {cursor - expected_cursor} but other counts are given")
        told = _told(counted, decisions or in_order(0, expired, 0, denied, held=counted[HELD]))
        if (self.file.content.epoch, self.file.content.cursor) != (expected_epoch, expected_cursor):
            return False
        if self.file.content.settled_to:
            return False
        content = self._change()
        settled = content.endings(expected_cursor + 1, cursor - expected_cursor)
        content.decided += told
        content.cursor = cursor
        content.expired += expired
        content.denied.update(denied)
        refused = self._hold(content, held)
        change = Moved(expected_cursor, cursor, told, (), refused, by_router=True, settled=settled)
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
        for one in taken:
            content.decide(one.offset, DELIVERED, was=DEAD)
        for one in denied_letters:
            content.decide(one.offset, denied_word(denied[one.id]), was=DEAD)
        for i, reason in failed.items():
            letter = content.letters.get(i)
            if letter is not None and letter.status is LetterStatus.REPLAY:
                content.letters[i] = replace(
                    letter,
                    status=LetterStatus.DEAD,
                    reason=reason,
                    attempts=letter.attempts + 1,
                    last_attempt_at_ms=now_ms,
                    epoch=epoch,
                    config_hash=self.config_hash,
                    ledger_version=(versions or {}).get(i, letter.ledger_version),
                )
        self.file.watcher.replayed(self.file.id, taken, delivered=True)
        self.file.watcher.replayed(self.file.id, denied_letters, delivered=False)

    def close(self) -> None:
        """Nothing to release."""

    def data_version(self) -> int:
        self.enter()
        return self.file.version - self._own_changes

    def check_epoch(self, epoch: int) -> None:
        """The fence: only the newest claim may commit."""
        if epoch != self.file.content.epoch:
            raise StaleEpoch(f"{self.file.id}: epoch {epoch} was replaced by epoch {self.file.content.epoch}")

    def _change(self) -> Content:
        self._own_changes += 1
        return self.file.change()
