"""The ledger's history: reading that of one subject, forgetting what is old, erasing a subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import NamedTuple

import apsw

from sluicegate.consent.evidence import Evidence
from sluicegate.consent.ledger import MAX_OWNERS, Ledger, Recorded
from sluicegate.consent.record import MAX_MEMBERS, decode_change, decode_record, earlier
from sluicegate.consent.slots import Slots
from sluicegate.consent.subject import KEY_BYTES, Subject
from sluicegate.sqlite import errors_of, fetch, transaction

KEEP_AGAIN_MS = 600_000
"""How long readers may take to notice that something was said again; those that take longer forget everything."""

CHUNK = 1_000
"""Rows removed in one transaction, so that others can write in between."""

_OLDEST = (
    "SELECT version, recorded_at_ms FROM history WHERE version > ? AND recorded_at_ms <= ? ORDER BY version LIMIT ?"
)
"""Without those of a clock that was ahead: they are as old as their neighbours, and go with them."""
_CHAIN = "SELECT subject, previous, recorded_at_ms, evidence, source, what FROM history WHERE version = ?"


class Change(NamedTuple):
    """One change of one subject: what was said, how, by whom, and when it was recorded.

    `other` is the key of the id that it was linked with, or that it came over from; empty when there is none.
    """

    version: int
    recorded_at_ms: int
    evidence: Evidence
    source: str
    said: Mapping[str, Slots]
    other: bytes = b""


def history(ledger: Ledger, subject: Subject) -> list[Change]:
    """Every change of these ids that is still kept, the newest first."""
    changes = [change for key in ledger.keys.of(subject) for change in history_of_key(ledger, key)]
    return sorted(changes, key=lambda change: change.version, reverse=True)


def history_of_key(ledger: Ledger, key: bytes) -> Iterator[Change]:
    """Every change of one id, by its key, that is still kept, the newest first."""
    with errors_of(ledger.path):
        found = fetch(ledger.db, "SELECT last FROM subjects WHERE key = ?", (key,))
    version = found[0][0] if found else 0
    while version:
        with errors_of(ledger.path):
            rows = fetch(ledger.db, _CHAIN, (version,))
        if not rows or rows[0][0] != key:  # forgotten
            return
        _, previous, recorded_at_ms, evidence, source, what = rows[0]
        kind, other, said = decode_change(evidence, what, ledger.names)
        yield Change(version, recorded_at_ms, kind, ledger.names.name(source), said, other)
        version = earlier(previous, version)


def forget_old(ledger: Ledger, *, now_ms: int, ttl_ms: int, max_chunks: int = 1_000_000) -> int:
    """Remove history older than `ttl_ms`, and soon what only said something again; the number of rows removed.

    What holds now stays as it is. `max_chunks` bounds the work of one call, by `CHUNK` rows that are looked at.
    """
    gone = 0
    for _ in range(max_chunks):
        n_rows = _forget_some(ledger, now_ms=now_ms, before_ms=now_ms - ttl_ms)
        gone += n_rows
        if n_rows < CHUNK:
            break
    for _ in range(max_chunks):
        swept = _sweep_some(ledger, now_ms=now_ms, before_ms=now_ms - KEEP_AGAIN_MS)
        if swept is None:
            break
        gone += swept
    return gone


def _forget_some(ledger: Ledger, *, now_ms: int, before_ms: int) -> int:
    db = ledger.db
    with errors_of(ledger.path), transaction(db):
        old = _older(db, 0, now_ms=now_ms, before_ms=before_ms)
        if old:
            db.execute("DELETE FROM history WHERE version <= ?", (old[-1],))
            db.execute("UPDATE facts SET forgotten = max(forgotten, ?1), swept = max(swept, ?1)", (old[-1],))
    return len(old)


def _older(db: apsw.Connection, after: int, *, now_ms: int, before_ms: int) -> list[int]:
    """Some versions after one that were recorded before a time, none of them later than one that was not.

    What a clock that was behind has dated is as old as its neighbours too, and takes none of them with it.
    """
    rows = fetch(db, _OLDEST, (after, now_ms, CHUNK))
    return [version for version, _ in takewhile(lambda row: row[1] < before_ms, rows)]


def _sweep_some(ledger: Ledger, *, now_ms: int, before_ms: int) -> int | None:
    """Look through some rows for those that are not part of a chain; None when there are none to look through."""
    db = ledger.db
    with errors_of(ledger.path), transaction(db):
        swept = fetch(db, "SELECT swept FROM facts")[0][0]
        old = _older(db, swept, now_ms=now_ms, before_ms=before_ms)
        if not old:
            return None
        db.execute(
            "DELETE FROM history WHERE version > ? AND version <= ? AND evidence = ?",
            (swept, old[-1], Evidence.STAMP_AGAIN.value),
        )
        n_rows: int = db.changes()
        newest_gap = old[-1] if n_rows else 0
        db.execute("UPDATE facts SET forgotten = max(forgotten, ?), swept = ?", (newest_gap, old[-1]))
    return n_rows


def erase(ledger: Ledger, subject: Subject, *, now_ms: int) -> Recorded:
    """Remove all that is known of a subject, also under the ids that came to belong to it, with its history.

    What stays is one row for each key that says that it was erased. The content that is removed is overwritten in the
    file. A second call changes nothing.
    """
    db = ledger.db
    with errors_of(ledger.path):
        with transaction(db):
            recorded = _erase(ledger, subject, now_ms)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return recorded


def _erase(ledger: Ledger, subject: Subject, now_ms: int) -> Recorded:
    erased = erase_keys(ledger, all_keys(ledger, ledger.keys.of(subject)))
    return Recorded(announce(ledger, erased, Evidence.ERASED, now_ms=now_ms), frozenset(erased))


def erase_keys(ledger: Ledger, keys: Iterable[bytes]) -> list[bytes]:
    """Remove what is known under these keys, with its history, in the transaction that is open; those that were there.

    Whoever has looked them up does not know of it yet: `announce` tells.
    """
    db = ledger.db
    swept = fetch(db, "SELECT swept FROM facts")[0][0]
    erased = []
    for key in keys:
        if not fetch(db, "SELECT 1 FROM subjects WHERE key = ?", (key,)):
            continue
        db.executemany("DELETE FROM history WHERE version = ?", [(one,) for one in _chain(ledger, key)])
        db.execute("DELETE FROM history WHERE version > ? AND subject = ?", (swept, key))
        db.execute("DELETE FROM subjects WHERE key = ?", (key,))
        erased.append(key)
    return erased


def _chain(ledger: Ledger, key: bytes) -> list[int]:
    """The versions of one id's changes that are still kept; what they say, which may be damaged, is not looked at."""
    found: list[int] = []
    rows = fetch(ledger.db, "SELECT last FROM subjects WHERE key = ?", (key,))
    while rows and (version := rows[0][0]) and (not found or version < found[-1]):
        rows = fetch(ledger.db, "SELECT previous FROM history WHERE version = ? AND subject = ?", (version, key))
        found += [version] if rows else []
    return found


def announce(ledger: Ledger, keys: Iterable[bytes], evidence: Evidence, *, now_ms: int) -> int:
    """Give each key a version at which something happened to it, in the transaction that is open; the last one."""
    db = ledger.db
    version: int = fetch(db, "SELECT version FROM facts")[0][0]
    number = ledger.names.number("")
    for version, key in enumerate(keys, version + 1):  # noqa: B020  (the last one is wanted)
        row = (version, key, 0, now_ms, evidence.value, number, b"")
        db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    db.execute("UPDATE facts SET version = ?", (version,))
    return version


def all_keys(ledger: Ledger, keys: Iterable[bytes]) -> tuple[bytes, ...]:
    """These keys and those of the ids that belong to them, also by way of others."""
    found = dict.fromkeys(keys)
    young = list(found)
    for _ in range(MAX_OWNERS):
        young = [member for key in young for member in _members(ledger, key) if member not in found]
        found.update(dict.fromkeys(young))
    return tuple(found)


def _members(ledger: Ledger, key: bytes) -> list[bytes]:
    """The keys that belong to this one now."""
    db, names = ledger.db, ledger.names
    rows = fetch(db, "SELECT record FROM subjects WHERE key = ?", (key,))
    listed = decode_record(rows[0][0], names).members if rows else []
    if len(listed) >= MAX_MEMBERS:  # there may be more than a record can list
        listed = [
            one for (one,) in fetch(db, "SELECT key FROM subjects WHERE substr(record, 2, ?) = ?", (KEY_BYTES, key))
        ]
    owned = []
    for member in listed:
        rows = fetch(db, "SELECT record FROM subjects WHERE key = ?", (member,))
        if rows and decode_record(rows[0][0], names).owner == key:
            owned.append(member)
    return owned
