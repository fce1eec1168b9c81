"""The chain of decisions in a destination's store.

    decisions(number, later, first, last, at_ms, story, hash)
    decisions_before(last, number, hash, counts)        what stood before the first row, when that has been removed

A row tells of all events from offset `first` to `last`, in order, as the cursor passed them; or, when it is a `later`
one, of single events between them that had ended otherwise before, such as a dead letter that a replay delivered. Of an
event the newest later row counts, else the one of the cursor. `story` is msgpack

    [from_ms, words, [n, outcome, n, outcome, ...], [n, version, n, version, ...], was, [offset, distance, ...],
     [[purpose, ...], [purpose, ...]], {word: n, ...}]

as `audit.column` has it; `was` is the word before and the offsets are there in later rows alone. The purposes are what
the destination required, all of the first and one of the others, null where nothing was decided by that. The counts by
word at the end are what all rows up to this one came to, with what stood before the first: so its hash covers that too.
`hash` is the BLAKE2b of the hash before and all other columns. The newest row of each kind grows with every commit for
up to `GROW_MS`, so that a destination that gets one event a second has one row a minute and not sixty.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import apsw
import msgpack
import msgspec

from sluicegate.audit.beginning import before_first
from sluicegate.audit.column import Column, Versions, add_versions
from sluicegate.config.model import Requirement
from sluicegate.sqlite import fetch, fetch_one

GROW_MS = 60_000
"""Rows are not added to when they are older; decisions are dated to a minute by that, and exactly when they are few."""
GROW_BYTES = 2_048
"""Nor when their story is longer: it is written again with every commit."""
N_GROWING = 3
"""Only so many of the newest rows are looked at for one to add to."""
HASH_BYTES = 32
MAX_ADDED_UP = 5_000
"""A chain of an older version, whose rows tell no counts, is added up when it has no more of them: a second of work."""

SQL = """
    CREATE TABLE IF NOT EXISTS decisions (
        number INTEGER PRIMARY KEY, later INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        at_ms INTEGER NOT NULL, story BLOB NOT NULL, hash BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS decisions_first ON decisions (later, first);
    CREATE TABLE IF NOT EXISTS decisions_before (
        last INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, counts TEXT NOT NULL
    ) STRICT;
    INSERT INTO decisions_before
        SELECT cursor, 0, zeroblob(32), json_patch(
            json_object(
                'delivered', delivered - redacted, 'delivered:redacted', redacted, 'dead', dead,
                'expired', expired - (SELECT coalesce(sum(n), 0) FROM expired_by)
            ),
            json_patch(
                (SELECT json_group_object('denied:' || reason, n) FROM denied),
                (SELECT json_group_object('expired:' || reason, n) FROM expired_by)
            )
        )
        FROM state WHERE NOT EXISTS (SELECT 1 FROM decisions_before);
"""
"""Part of a store's layout, for a new one and one from before: what was counted by then is before the first row."""

_COLUMNS = "number, later, first, last, at_ms, story, hash"
_NEWEST = f"SELECT {_COLUMNS} FROM decisions ORDER BY number DESC LIMIT {N_GROWING}"
_ALL = f"SELECT {_COLUMNS} FROM decisions ORDER BY number LIMIT ?"
_STORE = f"INSERT OR REPLACE INTO decisions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the chain; `at_ms` is when it was last added to (Unix ms)."""

    number: int
    later: int
    first: int
    last: int
    at_ms: int
    story: bytes
    hash: bytes = b""

    def hashed(self, before: bytes) -> Row:
        """The row with the hash that it has after a row with that hash."""
        content = msgpack.packb([self.number, self.later, self.first, self.last, self.at_ms, self.story])
        return replace(self, hash=hashlib.blake2b(before + content, digest_size=HASH_BYTES).digest())

    @property
    def columns(self) -> tuple[Any, ...]:
        """As they are stored."""
        return self.number, self.later, self.first, self.last, self.at_ms, self.story, self.hash


class _Packed(msgspec.Struct, array_like=True):
    """A story as it is stored; rows from before requirements, or totals, were kept end without them."""

    from_ms: int
    words: list[str]
    pieces: list[int | bytes]
    versions: list[int]
    was: str
    distances: list[int]
    requires: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    totals: dict[str, int] | None = None


_unpack = msgspec.msgpack.Decoder(_Packed).decode


def _numbers(given: Sequence[int | bytes]) -> list[int]:
    """How many events each run has; raises `ValueError` for what is no such number."""
    numbers = [n for n in given if isinstance(n, int) and n > 0]
    if len(numbers) != len(given):
        raise ValueError("a run has no number of events")
    return numbers


@dataclass(slots=True)
class Story:
    """What a row tells: `from_ms` is when it was begun; `was` and `offsets` are those of a later row.

    `requires` is what the destination required, None where nothing was decided by that. `totals` are the counts by word
    with this row and all before it, None where that is not known.
    """

    from_ms: int
    column: Column
    versions: Versions
    was: str = ""
    offsets: list[int] = field(default_factory=list)
    requires: Requirement | None = None
    totals: dict[str, int] | None = None

    def packed(self) -> bytes:
        """As it is stored."""
        pieces = [part for piece in self.column.pieces for part in piece]
        versions = [part for run in self.versions for part in run]
        distances = [self.offsets[0], *(b - a for a, b in pairwise(self.offsets))] if self.offsets else []
        requires = None if self.requires is None else [self.requires.all, self.requires.any]
        packed: bytes = msgpack.packb(
            [self.from_ms, self.column.words, pieces, versions, self.was, distances, requires, self.totals]
        )
        return packed

    @classmethod
    def unpacked(cls, packed: bytes) -> Story:
        """The story in a row; raises `ValueError` for what is none."""
        try:
            told = _unpack(packed)
            column = Column(told.words, list(zip(_numbers(told.pieces[::2]), told.pieces[1::2], strict=True)))
            runs = list(zip(_numbers(told.versions[::2]), told.versions[1::2], strict=True))
            requires = None if told.requires is None else Requirement(*told.requires)
            offsets = list(accumulate(told.distances))
            return cls(told.from_ms, column, runs, told.was, offsets, requires, told.totals)
        except ValueError as error:
            raise ValueError(f"it cannot be decoded: {error}") from error

    def counts(self) -> Counter[str]:
        """What it adds to the counts by word, and takes from them; raises `ValueError`."""
        counts = self.column.counts()
        if self.was:
            counts[self.was] -= len(self.offsets)
        return counts

    def add_totals(self, more: Counter[str] | None) -> None:
        """Let the totals be so much more; unknown when either is."""
        self.totals = None if self.totals is None or more is None else _sum(self.totals, more)


def counts_of(row: Row, story: Story | None = None) -> Counter[str]:
    """What a row adds to the counts by word; a later one takes away what it replaces. Raises `ValueError`."""
    story = story or Story.unpacked(row.story)
    counts = story.column.counts()
    n, n_offsets = counts.total(), row.last - row.first + 1
    if sum([n for n, _ in story.versions]) != n:
        raise ValueError("it has not one ledger version for each decision")
    if row.later:
        if n != len(story.offsets) or (min(story.offsets), max(story.offsets)) != (row.first, row.last):
            raise ValueError("it has not one decision for each event")
        counts[story.was] -= n
    elif n != n_offsets:
        raise ValueError(f"it has {n} decisions for {n_offsets} events")
    return counts


@dataclass(slots=True)
class Decisions:
    """How events ended that are settled together: outcomes and ledger versions, in the order of their offsets."""

    column: Column = field(default_factory=Column)
    versions: Versions = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.column)


def add_decisions(
    connection: apsw.Connection, decisions: Decisions, *, last: int, now_ms: int, requires: Requirement | None = None
) -> None:
    """Write how the events up to offset `last` ended, which the cursor passes; inside the caller's transaction."""
    if n := len(decisions):
        story = Story(now_ms, decisions.column, decisions.versions, requires=requires)
        _add(connection, Row(0, 0, last - n + 1, last, now_ms, b""), story)


def add_later(
    connection: apsw.Connection,
    offsets: Sequence[int],
    decisions: Decisions,
    *,
    was: str,
    now_ms: int,
    requires: Requirement | None = None,
) -> None:
    """Write how single events ended that the cursor had passed as `was`; inside the caller's transaction.

    `decisions` has one entry for each offset. Who moves an event from one account to another calls this for it.
    """
    if len(offsets) != len(decisions):
        raise ValueError(f"{len(offsets)} events and {len(decisions)} decisions")
    if offsets:
        row = Row(0, 1, min(offsets), max(offsets), now_ms, b"")
        _add(connection, row, Story(now_ms, decisions.column, decisions.versions, was, list(offsets), requires))


def later(outcomes: Iterable[tuple[int, str, int]]) -> tuple[list[int], Decisions]:
    """Single events as (offset, word, ledger version), in the form that `add_later` takes."""
    offsets, decisions = [], Decisions()
    for offset, word, version in sorted(outcomes):
        offsets.append(offset)
        decisions.column.add_run(word, 1)
        add_versions(decisions.versions, [(1, version)])
    return offsets, decisions


def _add(connection: apsw.Connection, row: Row, more: Story) -> None:
    newest = [Row(*columns) for columns in fetch(connection, _NEWEST)]
    growing = _growing(connection, newest, row, more)
    if growing is None:
        number, before = (newest[0].number, newest[0].hash) if newest else _before(connection)
        more.totals = _totals(connection, newest)
        more.add_totals(more.counts())
        rows = [replace(row, number=number + 1, story=more.packed()).hashed(before)]
    else:
        rows = _grown(connection, newest, growing, row, more)
    connection.executemany(_STORE, [one.columns for one in rows])


def _grown(
    connection: apsw.Connection, newest: Sequence[Row], growing: tuple[int, Story], row: Row, more: Story
) -> list[Row]:
    """The row that takes these decisions, and those after it, which follow from it."""
    at, story = growing
    old, counts = newest[at], more.counts()
    story.column.extend(more.column)
    add_versions(story.versions, more.versions)
    story.offsets += more.offsets
    story.add_totals(counts)
    grown = replace(
        old, first=min(old.first, row.first), last=max(old.last, row.last), at_ms=row.at_ms, story=story.packed()
    )
    rows, before = [], newest[at + 1].hash if at + 1 < len(newest) else _before(connection)[1]
    for one in [grown, *(_with_more(after, counts) for after in reversed(newest[:at]))]:
        rows.append(one.hashed(before))
        before = rows[-1].hash
    return rows


def _with_more(row: Row, counts: Counter[str]) -> Row:
    story = Story.unpacked(row.story)
    if story.totals is None:
        return row
    story.add_totals(counts)
    return replace(row, story=story.packed())


def _totals(connection: apsw.Connection, newest: Sequence[Row]) -> dict[str, int] | None:
    """The counts by word with all rows; None when that cannot be read, or would take too long."""
    try:
        if newest and (totals := Story.unpacked(newest[0].story).totals) is not None:
            return totals
        begin = before_first(connection)
        rows = fetch(connection, _ALL, (MAX_ADDED_UP + 1,)) if newest else []
        if len(rows) > MAX_ADDED_UP:
            return None
        totals = dict(begin.counts)
        for columns in rows:
            totals = _sum(totals, counts_of(Row(*columns)))
    except ValueError:
        return None
    return totals


def _sum(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {word: n for word in {**counts, **more} if (n := counts.get(word, 0) + more.get(word, 0))}


def _growing(connection: apsw.Connection, newest: Sequence[Row], row: Row, more: Story) -> tuple[int, Story] | None:
    """Which of the newest rows takes these decisions, with its story; None for a new one.

    The last one, or the one before it when of the two one is of the cursor and one a later one: the order of later rows
    among themselves says which is the newest. What is damaged stays as it is, so that a check finds it: a row that
    grows gets a new hash, and so do those after it.
    """
    for at, old in enumerate(newest[:2]):
        if not _is_whole(connection, newest, at):
            return None
        if old.later != row.later:
            continue
        if len(old.story) >= GROW_BYTES or (not old.later and old.last + 1 != row.first):
            return None
        story = Story.unpacked(old.story)
        young = story.from_ms <= old.at_ms <= row.at_ms < story.from_ms + GROW_MS
        alike = (story.was, story.requires) == (more.was, more.requires)
        return (at, story) if young and alike and story.column.fits(more.column) else None
    return None


def _is_whole(connection: apsw.Connection, newest: Sequence[Row], at: int) -> bool:
    before = newest[at + 1].hash if at + 1 < len(newest) else _before(connection)[1]
    return newest[at].hashed(before).hash == newest[at].hash


def _before(connection: apsw.Connection) -> tuple[int, bytes]:
    number, hash_ = fetch_one(connection, "SELECT number, hash FROM decisions_before")
    return int(number), bytes(hash_)
