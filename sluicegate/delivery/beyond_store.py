"""The rows of a store that say what is settled beyond its cursor.

    beyond(block, last, requires, told, seal)    a block as `beyond` packs it, and its last offset that is settled
    beyond_dead(log_offset, story, seal)         why an event is dead, as JSON; the event stays in the log

`requires` is what the destination required then: the proof of decisions names one requirement for all that the cursor
passes together, so what was settled under another one is forgotten at the next start, and decided again. `seal` is the
CRC-32C of the other columns: what a bad disk has changed must not make anybody believe that an event was delivered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import apsw
import msgspec

from sluicegate.accounts import reading_store, seal_of
from sluicegate.audit.words import DEAD
from sluicegate.config.model import Requirement
from sluicegate.delivery.beyond import BLOCK, Beyond, Block, Ending, Remembered
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import Dead, Stage
from sluicegate.delivery.walltime import monotonic_s
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import fetch, transaction

logger = logging.getLogger(__name__)


class _Story(msgspec.Struct, frozen=True):
    """Why an event is dead."""

    reason: str
    attempts: int
    first_attempt_at_ms: int
    last_attempt_at_ms: int
    stage: Stage
    first_error: str
    http_status: int | None
    response: str
    epoch: int
    config_hash: str
    ledger_version: int

    @classmethod
    def of(cls, letter: DeadLetter) -> _Story:
        """What a letter says, but for the event."""
        return cls(*(getattr(letter, name) for name in cls.__struct_fields__))

    def dead(self, offset: Offset) -> Dead:
        """The same for the settlement."""
        first, last = monotonic_s(self.first_attempt_at_ms), monotonic_s(self.last_attempt_at_ms)
        answer = self.first_error, self.http_status, self.response
        by = self.epoch, self.config_hash
        return Dead(offset, "", b"", self.reason, self.attempts, first, last, self.stage, *answer, *by)

    def with_words(self, change: Callable[[str], str]) -> _Story:
        """The same, with what was said of it changed."""
        return msgspec.structs.replace(
            self,
            reason=change(self.reason),
            first_error=change(self.first_error),
            response=change(self.response),
        )


_read_story = msgspec.json.Decoder(_Story).decode


class BeyondTable:
    """The rows in an open store; `write` and `load` belong inside the caller's transaction."""

    def __init__(self, connection: apsw.Connection, requires: Requirement | None) -> None:
        self._db = connection
        self._requires = "" if requires is None else msgspec.json.encode([requires.all, requires.any]).decode()
        self._last: Offset = 0
        self._first_block = 0
        self._has_dead = False

    def load(self, *, cursor: Offset, head: Offset) -> Remembered:
        """What is remembered beyond the cursor of a log that ends at `head`; what cannot be used is removed."""
        self._db.execute("DELETE FROM beyond WHERE last <= ? OR requires <> ?", (cursor, self._requires))
        self._db.execute("DELETE FROM beyond_dead WHERE log_offset <= ?", (cursor,))
        found = Remembered(_blocks(self._db), _dead(self._db))
        if found.last > head:
            logger.warning("the log ends at event %d, before what was settled last: it is delivered again", head)
            found = Remembered()
        for table, id_, kept in (("beyond", "block", found.blocks), ("beyond_dead", "log_offset", found.dead)):
            here = [number for (number,) in fetch(self._db, f"SELECT {id_} FROM {table}")]
            lost = [(number,) for number in here if number not in kept]
            self._db.executemany(f"DELETE FROM {table} WHERE {id_} = ?", lost)
        self._first_block, self._last = (cursor + 1) // BLOCK, found.last
        self._has_dead = bool(found.dead)
        return found

    def write(self, cursor: Offset, beyond: Beyond | None) -> None:
        """Keep this, and let go of what the cursor has passed; nothing is done while there is nothing of either."""
        if beyond is not None:
            self._db.executemany(
                "INSERT OR REPLACE INTO beyond VALUES (?, ?, ?, ?, ?)",
                [_columns(block, self._requires) for block in beyond.blocks],
            )
            stories = [(one.offset, msgspec.json.encode(_Story.of(one))) for one in beyond.dead]
            self._db.executemany(
                "INSERT OR REPLACE INTO beyond_dead VALUES (?, ?, ?)",
                [(offset, story, seal_of(offset, story)) for offset, story in stories],
            )
        if not self._last:
            return
        if cursor >= self._last_with(beyond):
            self._db.execute("DELETE FROM beyond")
        elif (cursor + 1) // BLOCK > self._first_block:
            self._db.execute("DELETE FROM beyond WHERE block < ?", ((cursor + 1) // BLOCK,))
        if self._has_dead:
            self._db.execute("DELETE FROM beyond_dead WHERE log_offset <= ?", (cursor,))

    def written(self, cursor: Offset, beyond: Beyond | None) -> None:
        """What was written is committed."""
        if beyond is None and not self._last:
            return
        last = self._last_with(beyond)
        self._last, self._first_block = (0 if cursor >= last else last), (cursor + 1) // BLOCK
        self._has_dead = bool(self._last) and (self._has_dead or bool(beyond and beyond.dead))

    def as_told(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """Letters of events whose stories are here, in their words: from these the ids of erased people are removed."""
        if not (self._has_dead and letters):
            return letters
        stories = _stories(self._db)
        return [_in_words_of(stories[one.offset], one) if one.offset in stories else one for one in letters]

    def _last_with(self, beyond: Beyond | None) -> Offset:
        if beyond is None:
            return self._last
        return max([self._last, *(block.last for block in beyond.blocks), *(one.offset for one in beyond.dead)])


def beyond_faults(db: apsw.Connection) -> list[str]:
    """What is wrong with the rows of a store; `drop_bad_beyond` removes those."""
    bad = _bad(db)
    return [f"{len(bad)} of its notes of what is settled beyond its cursor cannot be read"] if bad else []


def drop_bad_beyond(db: apsw.Connection) -> None:
    """Remove the rows that nobody can read, inside the caller's transaction: their events are delivered again."""
    for table, number in _bad(db):
        db.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))


def forget_words(db: apsw.Connection, was_erased: Callable[[Offset], bool], clean: Callable[[str], str]) -> None:
    """Remove the stories of erased events and those that nobody can read, and what `clean` removes from the others.

    `was_erased` reads the log, outside of transactions: a destination that runs writes meanwhile.
    """
    with transaction(db):
        drop_bad_beyond(db)
    changed = {offset: story.with_words(clean) for offset, story in _stories(db).items()}
    erased = [(offset,) for offset in changed if was_erased(offset)]
    db.executemany("DELETE FROM beyond_dead WHERE log_offset = ?", erased)
    for offset, story in changed.items():
        packed = msgspec.json.encode(story)
        sql = "UPDATE beyond_dead SET story = ?, seal = ? WHERE log_offset = ? AND story <> ?1"
        db.execute(sql, (packed, seal_of(offset, packed), offset))


def ending_of(path: Path, offset: Offset) -> Ending | None:
    """How an event ended that the cursor has not passed yet, None when it has not, or nobody can say."""
    if not path.exists():
        return None
    with reading_store(path) as connection:
        if not fetch(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'beyond'"):
            return None  # of a version that did not keep it
        found = Remembered(_blocks(connection, offset // BLOCK))
        stories = _stories(connection)
    # One that died may be forbidden when the next process reads it: the block says so, and its story is still here.
    for ending, _ in found.endings(offset, 1):
        return ending
    return Ending(DEAD, stories[offset].ledger_version) if offset in stories else None


def _columns(block: Block, requires: str) -> tuple[int, int, str, bytes, int]:
    told = block.packed()
    return block.number, block.last, requires, told, seal_of(block.number, block.last, requires, told)


def _check(seal: int, columns: Sequence[int | str | bytes]) -> None:
    if seal_of(*columns) != seal:
        raise ValueError("the row is not what was written")


def _blocks(db: apsw.Connection, number: int | None = None) -> dict[int, Block]:
    sql = "SELECT block, last, requires, told, seal FROM beyond WHERE ?1 IS NULL OR block = ?1"
    found = {}
    for *columns, seal in fetch(db, sql, (number,)):
        try:
            _check(seal, columns)
            found[columns[0]] = Block.unpacked(columns[0], columns[3])
        except ValueError as error:
            logger.warning("what is settled from event %d on is delivered again: %s", columns[0] * BLOCK, error)
    return found


def _stories(db: apsw.Connection) -> dict[Offset, _Story]:
    found = {}
    for offset, story, seal in fetch(db, "SELECT log_offset, story, seal FROM beyond_dead"):
        try:
            _check(seal, (offset, story))
            found[offset] = _read_story(story)
        except ValueError as error:
            logger.warning("event %d is tried again: %s", offset, error)
    return found


def _dead(db: apsw.Connection) -> dict[Offset, tuple[Dead, int]]:
    return {offset: (story.dead(offset), story.ledger_version) for offset, story in _stories(db).items()}


def _bad(db: apsw.Connection) -> list[tuple[str, int]]:
    good: Mapping[str, Mapping[int, object]] = {"beyond": _blocks(db), "beyond_dead": _stories(db)}
    rows = [(table, id_) for table in good for (id_,) in fetch(db, f"SELECT rowid FROM {table}")]
    return [(table, id_) for table, id_ in rows if id_ not in good[table]]


def _in_words_of(story: _Story, letter: DeadLetter) -> DeadLetter:
    return replace(letter, reason=story.reason, first_error=story.first_error, response=story.response)
