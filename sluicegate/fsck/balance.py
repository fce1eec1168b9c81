"""Setting the accounts of a repaired store right, so that they add up to how far its cursor has moved.

Three witnesses say how far a store has read and what became of the events: its cursor, its counts and the chain of its
decisions. What two of them say is believed. What is lost beyond that is counted as lost, never below zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import apsw

from sluicegate.accounts import DAMAGED, read_state, words_of
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD, REDACTED, denied, expired, reason_of
from sluicegate.delivery.beyond_store import drop_bad_beyond
from sluicegate.errors import LogDamaged
from sluicegate.fsck.databases import bad_letters, believed_cursor, known_letters, n_counted, store_faults
from sluicegate.fsck.decisions import mend_beginning, mend_decisions, told_by
from sluicegate.sqlite import fetch

UNKNOWN = "unknown since a repair"

_LETTERS = "(SELECT count(*) FROM dead_letters)"
_COUNTS = "UPDATE state SET delivered = ?, redacted = ?, dead = ?, held = ?, expired = ?"


def balance(db: apsw.Connection, path: Path) -> bool:
    """Count what was lost, so that the accounts add up; inside the caller's transaction on the store for `path`.

    The events of lost letters have expired by damage. Returns whether the proof of decisions had to begin anew. Raises
    `LogDamaged` when the accounts cannot be set right.
    """
    for id_ in bad_letters(db):
        db.execute("DELETE FROM dead_letters WHERE id = ?", (id_,))
    drop_bad_beyond(db)
    mend_beginning(db)
    _mend_cursor(db)
    _mend_counts(db)
    _count_lost(db)
    begun_anew = mend_decisions(db)
    if faults := store_faults(db):
        raise LogDamaged(f"{path}: {faults[0]}; restore it from a backup")
    return begun_anew


def _mend_cursor(db: apsw.Connection) -> None:
    """Set the cursor, or where the store begins, to what counts and decisions both say."""
    if (cursor := believed_cursor(db)) is not None:
        db.execute("UPDATE state SET cursor = ?", (cursor,))
    state, told = read_state(db), told_by(db)
    counted = n_counted(state)
    if told is not None and told.reached == state.cursor and told.counts.total() == counted:
        db.execute("UPDATE state SET start = ?", (state.cursor - counted,))


def _mend_counts(db: apsw.Connection) -> None:
    """Take the counts from the decisions, when these add up: they have hashes."""
    state, told = read_state(db), told_by(db)
    if told is None or told.reached != state.cursor or told.counts.total() != state.cursor - state.start:
        return
    if min(told.counts.values(), default=0) >= 0:
        _put_counts(db, told.counts)


def _count_lost(db: apsw.Connection) -> None:
    """Let dead and held events be those that are there, and count what is missing then."""
    db.execute("DELETE FROM held WHERE log_offset > (SELECT cursor FROM state)")
    db.execute(f"UPDATE state SET forgotten = max(0, min(forgotten, dead - {_LETTERS})), considered = 0")
    state = read_state(db)
    dead, held = known_letters(db), fetch(db, "SELECT count(*) FROM held")[0][0]
    lost = max(0, state.dead - dead) + max(0, state.held - held)
    db.execute("UPDATE state SET dead = ?, held = ?", (dead, held))
    missing = _missing(db)
    if missing is None:  # a count is too great, and nothing says which
        _put_counts(db, {DEAD: dead, HELD: held})
        missing = _missing(db) or 0
    lost = min(lost, missing)
    db.execute("UPDATE state SET expired = expired + ?", (lost,))
    _add(db, "expired_by", DAMAGED, lost)
    _add(db, "denied", UNKNOWN, missing - lost)


def _missing(db: apsw.Connection) -> int | None:
    """How many events the cursor has passed beyond those that are counted; None when the counts cannot be right."""
    state = read_state(db)
    missing = state.cursor - state.start - n_counted(state)
    return None if missing < 0 or min(words_of(state).values()) < 0 else missing


def _put_counts(db: apsw.Connection, counts: Mapping[str, int]) -> None:
    """Count by these words what is counted so far."""
    reasons: dict[str, Counter[str]] = {"denied": Counter(), "expired_by": Counter()}
    n_expired = 0
    for word, n in counts.items():
        if word == denied(reason_of(word)):
            reasons["denied"][reason_of(word)] = n
        elif word == expired(reason_of(word)):
            n_expired += n
            if word != EXPIRED:
                reasons["expired_by"][reason_of(word)] = n
    redacted = counts.get(REDACTED, 0)
    delivered = counts.get(DELIVERED, 0) + redacted
    db.execute(_COUNTS, (delivered, redacted, counts.get(DEAD, 0), counts.get(HELD, 0), n_expired))
    for table, by_reason in reasons.items():
        db.execute(f"DELETE FROM {table}")
        for reason, n in by_reason.items():
            _add(db, table, reason, n)


def _add(db: apsw.Connection, table: str, reason: str, n: int) -> None:
    if n:
        db.execute(f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", (reason, n))
