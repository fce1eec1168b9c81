"""Reading the chain: how one event ended, everything in order, and whether it is what was written."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import apsw

from sluicegate.audit.beginning import before_first
from sluicegate.audit.chain import GROW_MS, N_GROWING, Row, Story, counts_of
from sluicegate.audit.column import version_at
from sluicegate.config.model import Requirement
from sluicegate.sqlite import fetch

CHUNK = 500
"""Rows in memory at a time."""

_COLUMNS = "number, later, first, last, at_ms, story, hash"
_AFTER = f"SELECT {_COLUMNS} FROM decisions WHERE number > ? ORDER BY number LIMIT {CHUNK}"
_OF_CURSOR = f"SELECT {_COLUMNS} FROM decisions WHERE later = 0 AND first <= ? ORDER BY first DESC LIMIT 1"
_LATER = f"SELECT {_COLUMNS} FROM decisions WHERE later = 1 AND first <= ?1 AND last >= ?1 ORDER BY number"
_HAS_CHAIN = "SELECT 1 FROM sqlite_schema WHERE name = 'decisions_before'"


class Entry(NamedTuple):
    """One decision about one event: it was taken between two moments (Unix ms), by this version of the ledger.

    `was` is the word that it replaced, empty for the first one. `row` is the number of its row, `requires` what the
    destination required, None where that is not known or nothing was decided by it.
    """

    word: str
    version: int
    from_ms: int
    until_ms: int
    row: int
    was: str = ""
    requires: Requirement | None = None


@dataclass(slots=True)
class Checked:
    """What a check of a chain has found; `fault` names the first thing that is wrong, None when nothing is."""

    n_rows: int = 0
    first_row: int = 0
    head: int = 0
    """The newest row that will not grow any more, and its hash."""
    head_hash: str = ""
    n_events: int = 0
    """Events whose decision is in the chain; those before it are in `counts` alone."""
    since: int = 0
    """The offset up to which decisions have been removed, or were taken before there was a chain."""
    reached: int | None = None
    """The offset that the rows lead to; None when one of them is not what was written."""
    counts: Counter[str] = field(default_factory=Counter)
    due_before: Mapping[str, int] | None = None
    """The counts before the first row as the rows have them, when these are others than those that are kept."""
    fault: str | None = None


def has_chain(connection: apsw.Connection) -> bool:
    """Whether a store, opened for reading alone, is of a version that keeps decisions."""
    return bool(fetch(connection, _HAS_CHAIN))


def rows_after(connection: apsw.Connection, number: int) -> Iterator[Row]:
    """All rows with a greater number, in order."""
    while rows := fetch(connection, _AFTER, (number,)):
        yield from (Row(*columns) for columns in rows)
        number = rows[-1][0]


def rows_apart(connection: apsw.Connection, number: int) -> Iterator[Row]:
    """The same without a transaction of the caller's, which would let the store's WAL grow for as long as it lasts.

    A row is told when no more is added to it, or with the last ones.
    """
    more = True
    while more:
        rows = fetch(connection, _AFTER, (number,))
        more = len(rows) == CHUNK
        whole = rows[:-N_GROWING] if more else rows
        yield from (Row(*columns) for columns in whole)
        number = whole[-1][0] if whole else number


def entries_of(connection: apsw.Connection, offset: int) -> list[Entry]:
    """Every decision about one event that is still kept, the final one last.

    Raises `ValueError` when a row cannot be read.
    """
    found: list[Entry] = []
    for columns in fetch(connection, _OF_CURSOR, (offset,)):
        row = Row(*columns)
        if offset <= row.last:
            found.append(_entry(row, Story.unpacked(row.story), offset - row.first))
    for columns in fetch(connection, _LATER, (offset,)):
        row = Row(*columns)
        story = Story.unpacked(row.story)
        places = [place for place, other in enumerate(story.offsets) if other == offset]
        found += [_entry(row, story, place) for place in places]
    return found


def ranges(row: Row) -> Iterator[tuple[int, int, str, int]]:
    """A row as (first offset, last offset, word, ledger version), in order; raises `ValueError`."""
    story = Story.unpacked(row.story)
    if row.later:
        words = (word for word, n in story.column.runs() for word in repeat(word, n))
        versions = (version for n, version in story.versions for version in repeat(version, n))
        for offset, word, version in zip(story.offsets, words, versions, strict=True):
            yield offset, offset, word, version
        return
    at, runs = row.first, [[n, version] for n, version in story.versions]
    for word, n in story.column.runs():
        while n and runs:
            step = min(n, runs[0][0])
            yield at, at + step - 1, word, runs[0][1]
            at, n = at + step, n - step
            runs[0][0] -= step
            if not runs[0][0]:
                del runs[0]


def check(connection: apsw.Connection, *, cursor: int, counts: Mapping[str, int], now_ms: int) -> Checked:
    """Check every row, and that they add up to the counts by word and reach the cursor.

    Of one moment: the caller has a transaction open. Whoever can write the file can make a chain that is whole; the
    number and hash of the head, noted elsewhere, show that too.
    """
    checked = Checked()
    try:
        begin = before_first(connection)
    except ValueError as error:
        checked.fault = str(error)
        return checked
    checked.first_row, checked.since = begin.number + 1, begin.last
    checked.counts.update(begin.counts)
    passed, number, hash_ = begin.last, begin.number, begin.hash
    newest: deque[Row] = deque(maxlen=3)
    for row in rows_after(connection, begin.number):
        fault = _fault(row, number, passed, hash_)
        if fault is None:
            try:
                story = Story.unpacked(row.story)
                checked.counts.update(counts_of(row, story))
                _compare(checked, begin.counts, story.totals, row.number)
            except ValueError as error:
                fault = f"row {row.number} is broken: {error}"
        if fault is not None:
            checked.fault = fault
            return checked
        checked.n_rows += 1
        number, hash_ = row.number, row.hash
        newest.append(row)
        if not row.later:
            passed = row.last
    checked.n_events, checked.reached = passed - begin.last, passed
    for place, row in enumerate(newest, 3 - len(newest)):
        if place and Story.unpacked(row.story).from_ms + 2 * GROW_MS > now_ms:
            break  # it may grow, and the hashes after it change then, however old those rows say that they are
        checked.head, checked.head_hash = row.number, row.hash.hex()
    checked.fault = checked.fault or _unbalanced(checked, passed, cursor, counts)
    return checked


def hash_at(connection: apsw.Connection, number: int) -> str | None:
    """The hash of a row, or of the beginning; None when it is not there any more, or not yet."""
    rows = fetch(
        connection,
        "SELECT hash FROM decisions WHERE number = ?1 UNION ALL SELECT hash FROM decisions_before WHERE number = ?1",
        (number,),
    )
    return rows[0][0].hex() if rows else None


def _fault(row: Row, before: int, passed: int, hash_: bytes) -> str | None:
    if row.number != before + 1:
        return f"row {before + 1} is missing"
    if row.hashed(hash_).hash != row.hash:
        return f"row {row.number} is not what was written, or a row before it was exchanged (events {_span(row)})"
    if not row.later and row.first != passed + 1:
        return f"row {row.number} begins at event {row.first}, but the row before ends at {passed}"
    return None


def _compare(checked: Checked, begin: Mapping[str, int], totals: Mapping[str, int] | None, number: int) -> None:
    """What a row says was counted by then must follow from the counts before the first row, which have no hash."""
    if totals is None or checked.fault is not None or totals == {word: n for word, n in checked.counts.items() if n}:
        return
    due = Counter(begin)
    due.update(totals)
    due.subtract(checked.counts)
    checked.due_before = {word: n for word, n in due.items() if n}
    checked.fault = f"the counts before row {checked.first_row} are not those from which row {number} goes on"


def _unbalanced(checked: Checked, passed: int, cursor: int, counts: Mapping[str, int]) -> str | None:
    if passed != cursor:
        return f"the newest row ends at event {passed}, but the cursor is at {cursor}: rows are missing at the end"
    told = {word: n for word, n in checked.counts.items() if n}
    due = {word: n for word, n in counts.items() if n}
    for word in sorted({*told, *due}):
        if told.get(word, 0) != due.get(word, 0):
            return f"the rows add up to {told.get(word, 0)} {word}, but {due.get(word, 0)} are counted"
    return None


def _span(row: Row) -> str:
    return f"{row.first}-{row.last}"


def _entry(row: Row, story: Story, place: int) -> Entry:
    try:
        word, version = story.column.word_at(place), version_at(story.versions, place)
    except (IndexError, ValueError) as error:
        raise ValueError(f"row {row.number} is broken: {error}") from error
    return Entry(word, version, story.from_ms, row.at_ms, row.number, story.was, story.requires)
