"""The proof in a store that was repaired: it says again what the accounts say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import apsw

from sluicegate.accounts import DAMAGED, read_state, words_of
from sluicegate.audit.beginning import before_first, set_before
from sluicegate.audit.chain import Row, add_later, later
from sluicegate.audit.reading import Checked, check, ranges, rows_after
from sluicegate.audit.words import DEAD, HELD, expired
from sluicegate.sqlite import fetch

BEGUN_ANEW = "the proof of its decisions was damaged too and begins anew"

_WHERE = {DEAD: "SELECT log_offset FROM dead_letters", HELD: "SELECT log_offset FROM held"}


def mend_beginning(db: apsw.Connection) -> None:
    """Set the counts before the first row to those from which the rows go on; inside the caller's transaction."""
    told = told_by(db)
    if told is not None and told.due_before is not None:
        _put_before(db, told.due_before)


def mend_decisions(db: apsw.Connection) -> bool:
    """Write what became of events that were lost with the store's rows; inside the caller's transaction.

    Each lost dead letter and held event gets a decision of its own. Lost counts that no event can be named for are put
    right before the first row. Where the chain itself is broken it begins anew after the cursor: then True.
    """
    now_ms = time.time_ns() // 1_000_000
    state = read_state(db)
    counts = words_of(state)
    try:
        for word, lost in _lost(db, counts).items():
            offsets, decisions = later((offset, expired(DAMAGED), 0) for offset in lost)
            add_later(db, offsets, decisions, was=word, now_ms=now_ms)
        checked = check(db, cursor=state.cursor, counts=counts, now_ms=now_ms)
    except (ValueError, IndexError):
        checked = None
    if checked is not None and checked.fault is None:
        return False
    if checked is not None and checked.reached == state.cursor:
        due = Counter(before_first(db).counts)
        due.update(counts)
        due.subtract(checked.counts)
        if min(due.values()) >= 0:
            _put_before(db, due)
            checked = check(db, cursor=state.cursor, counts=counts, now_ms=now_ms)
            if checked.fault is None:
                return False
    _begin_anew(db, state.cursor, counts)
    return True


def check_proof(db: apsw.Connection) -> tuple[bool, str | None]:
    """Whether the chain is whole by itself, and what is wrong with it or how it contradicts the accounts."""
    state = read_state(db)
    try:
        checked = check(db, cursor=state.cursor, counts=words_of(state), now_ms=0)
    except (ValueError, IndexError) as error:
        return False, str(error)
    return checked.reached is not None, checked.fault


def told_by(db: apsw.Connection) -> Checked | None:
    """What the chain says by itself, whatever the accounts say; None when it is not whole."""
    try:
        checked = check(db, cursor=0, counts={}, now_ms=0)
    except (ValueError, IndexError):
        return None
    return None if checked.reached is None else checked


def _lost(db: apsw.Connection, counts: Mapping[str, int]) -> dict[str, list[int]]:
    """The offsets of events that are dead or held by their newest decision, and that the store does not have.

    The newest ones, as many as are no longer counted so: dead events of which only the count is kept are older.
    """
    told = told_by(db)
    if told is None:
        return {}
    return {
        word: sorted(offsets)[-n:]
        for word, offsets in _absent(db).items()
        if (n := told.counts[word] - counts[word]) > 0
    }


def _absent(db: apsw.Connection) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {word: set() for word in _WHERE}
    for row in _later_last(db):
        for first, last, word, _ in ranges(row):
            for other, offsets in found.items():
                if other == word:
                    offsets.update(range(first, last + 1))
                elif row.later:
                    offsets.discard(first)
    return {word: offsets.difference(at for (at,) in fetch(db, _WHERE[word])) for word, offsets in found.items()}


def _later_last(db: apsw.Connection) -> Iterator[Row]:
    """All rows, those of the cursor first: a later one grows on after the next row of the cursor has begun."""
    for later_ones in (False, True):
        yield from (row for row in rows_after(db, before_first(db).number) if bool(row.later) is later_ones)


def _put_before(db: apsw.Connection, counts: Mapping[str, int]) -> None:
    set_before(db, before_first(db)._replace(counts=counts))


def _begin_anew(db: apsw.Connection, cursor: int, counts: dict[str, int]) -> None:
    number = fetch(
        db,
        "SELECT max(coalesce((SELECT max(number) FROM decisions), 0), coalesce(max(number), 0)) FROM decisions_before",
    )[0][0]
    db.execute("DELETE FROM decisions")
    db.execute("DELETE FROM decisions_before")
    db.execute("INSERT INTO decisions_before VALUES (?, ?, zeroblob(32), '{}')", (cursor, number))
    _put_before(db, counts)
