"""What erasing means in one destination's store: the one place for everything in it that may tell of a subject."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from pathlib import Path

import apsw

from sluicegate.accounts import store_schema
from sluicegate.audit.chain import add_later, later
from sluicegate.audit.words import DEAD, denied
from sluicegate.consent.standing import ERASED
from sluicegate.delivery.beyond_store import forget_words
from sluicegate.delivery.erasing_texts import erased_words
from sluicegate.delivery.letters import letter_offsets
from sluicegate.delivery.whose import Whose
from sluicegate.eventlog.base import Offset
from sluicegate.gaps import clear_gaps
from sluicegate.sqlite import connect, errors_of, fetch, transaction

PIECE = 200
"""Dead letters that are looked at in one transaction."""

_TEXTS = "reason, first_error, response"
"""What a vendor said, perhaps of other events of the same call."""

WasErased = Callable[[Offset], bool]
"""Whether the log has an erased event at this offset."""


def erase_in_store(
    path: Path, whose: Whose, was_erased: WasErased, *, up_to: Offset, version: int = 0, dry_run: bool = False
) -> int:
    """Erase the subjects' events up to an offset of the log from a store; returns how many dead letters that were.

    A dead letter is removed and counts as denied for the reason `erased` from then on, in one transaction, so that the
    accounts are right at every moment; that is decided by `version` of the ledger. What vendors said of other events
    loses the subjects' ids.
    """
    db = connect(path, store_schema(0), synchronous="FULL", create=False)
    try:
        with errors_of(path):
            n_letters = _erase_letters(db, whose, was_erased, up_to=up_to, version=version, dry_run=dry_run)
            if not dry_run:
                _forget_words(db, whose, was_erased)
    finally:
        db.close()
    return n_letters


def leave_nothing_in(path: Path) -> None:
    """Overwrite what was left beside a store's rows, and cut its WAL to nothing.

    Raises `LogUnavailable` when somebody reads for too long.
    """
    db = connect(path, store_schema(0), synchronous="FULL", create=False)
    try:
        clear_gaps(db, path)
    finally:
        db.close()


def _erase_letters(
    db: apsw.Connection, whose: Whose, was_erased: WasErased, *, up_to: Offset, version: int, dry_run: bool
) -> int:
    after = n_letters = 0
    sql = f"SELECT id, {_TEXTS}, log_offset, event FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?"
    while rows := fetch(db, sql, (after, PIECE)):
        after = rows[-1][0]
        theirs, others = [], []
        for id_, *texts, offset, event in rows:
            if offset <= up_to and (whose.event(event) if event else was_erased(offset)):
                theirs.append(id_)
            elif (said := [erased_words(text, whose) for text in texts]) != texts:
                others.append((*said, id_))
        n_letters += len(theirs) if dry_run else _remove(db, theirs, version)
        if not dry_run:
            db.executemany("UPDATE dead_letters SET (reason, first_error, response) = (?, ?, ?) WHERE id = ?", others)
    return n_letters


def _remove(db: apsw.Connection, ids: list[int], version: int) -> int:
    if not ids:
        return 0
    with transaction(db):
        offset_of = letter_offsets(db, ids)
        db.executemany("DELETE FROM dead_letters WHERE id = ?", [(id_,) for id_ in offset_of])
        offsets, decisions = later((offset, denied(ERASED), version) for offset in offset_of.values())
        add_later(db, offsets, decisions, was=DEAD, now_ms=time.time_ns() // 1_000_000)
        db.execute("UPDATE state SET dead = dead - ?", (len(offset_of),))
        sql = "INSERT INTO denied VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
        db.execute(sql, (ERASED, len(offset_of)))
    return len(offset_of)


def _forget_words(db: apsw.Connection, whose: Whose, was_erased: WasErased) -> None:
    """A vendor's words about a failed call may quote the events of that call.

    The log is read outside of transactions: a destination that runs writes meanwhile.
    """
    rows = fetch(db, "SELECT DISTINCT offsets, first_error FROM retries WHERE first_error <> ?", (ERASED,))
    words = [
        (ERASED, packed, said)
        for packed, said in rows
        if any(map(was_erased, array("q", packed))) or erased_words(said, whose) != said
    ]
    with transaction(db):
        db.executemany("UPDATE retries SET first_error = ? WHERE offsets = ? AND first_error = ?", words)
    forget_words(db, was_erased, lambda text: erased_words(text, whose))
