"""Erasing and suppressing subjects: what was asked for, as the ledger keeps it.

A regulation is on disk before it is answered for, and in force from then on: `regulated` says up to which offset of
the event log a subject's events were erased and suppressed, and every decision looks at that. What is left of the
subject in files is erased afterwards (`delivery.erasing`), however often that is interrupted.

    erased_to       the head of the log when deletion was asked for
    suppressed_to   `NO_END` while the subject is suppressed; the head of the log when that ended

Nothing here holds an id: all of it is by the keyed hashes of `consent.subject`. `by` is the subject in whose name an id
that belongs to it was regulated too, so that the end of a suppression finds them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sluicegate.consent.evidence import Evidence
from sluicegate.consent.history import all_keys, announce, erase_keys
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.standing import NO_END
from sluicegate.consent.subject import Subject
from sluicegate.sqlite import errors_of, fetch, transaction

_COLUMNS = "id, kind, subject_kind, n_subjects, head, created_at_ms, finished_at_ms, changed, report"
_SUPPRESS = """
    INSERT INTO regulated VALUES (?, ?, 0, ?) ON CONFLICT (key, by) DO UPDATE SET suppressed_to = excluded.suppressed_to
    WHERE suppressed_to < excluded.suppressed_to
"""
_ERASE = """
    INSERT INTO regulated VALUES (?, ?, ?, 0) ON CONFLICT (key, by) DO UPDATE SET erased_to = excluded.erased_to
    WHERE erased_to < excluded.erased_to
"""


class Kind(StrEnum):
    """What can be asked for; the names are those of Segment's API (docs.segmentapis.com, Deletion and Suppression)."""

    SUPPRESS_WITH_DELETE = "SUPPRESS_WITH_DELETE"
    DELETE_ONLY = "DELETE_ONLY"
    SUPPRESS_ONLY = "SUPPRESS_ONLY"
    UNSUPPRESS = "UNSUPPRESS"

    @property
    def deletes(self) -> bool:
        """Whether what is there already is erased."""
        return self in (Kind.SUPPRESS_WITH_DELETE, Kind.DELETE_ONLY)

    @property
    def suppresses(self) -> bool:
        """Whether nothing more is taken."""
        return self in (Kind.SUPPRESS_WITH_DELETE, Kind.SUPPRESS_ONLY)


class SubjectKind(StrEnum):
    """Which kind of id names the subjects; `ANONYMOUS_ID` is not in Segment's API."""

    USER_ID = "USER_ID"
    ANONYMOUS_ID = "ANONYMOUS_ID"

    def subject(self, id_: str) -> Subject:
        """The subject with this id."""
        return Subject(user_id=id_) if self is SubjectKind.USER_ID else Subject(anonymous_id=id_)


@dataclass(frozen=True, slots=True)
class Regulation:
    """One request: what and how many subjects, where the event log ended, when, and what it came to.

    `changed` counts the ids that it changed anything for in the ledger: erased consent, begun or ended suppressions.
    Without `finished_at_ms` (0) its files are still being erased. `report` is what `delivery.erasing` says of them.
    """

    id: str
    kind: Kind
    subject_kind: SubjectKind
    n_subjects: int
    head: int
    created_at_ms: int
    finished_at_ms: int = 0
    changed: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)


def regulate(
    ledger: Ledger,
    id_: str,
    kind: Kind,
    subject_kind: SubjectKind,
    ids: Sequence[str],
    *,
    head: int,
    now_ms: int,
) -> Regulation:
    """Put a regulation in force for these subjects and the ids that belong to them, in one transaction.

    `head` is that of the event log, read after the request came. When it returns it is on disk; calls that were decided
    before may still go out (`delivery.deciding.wait_until_seen`).
    """
    subjects = {key for one in ids for key in ledger.keys.of(subject_kind.subject(one))}
    with errors_of(ledger.path):
        try:
            with transaction(ledger.db):
                changed = _put_in_force(ledger, id_, kind, sorted(subjects), head, now_ms)
                finished_at_ms = 0 if kind.deletes else now_ms
                row = (id_, kind, subject_kind, len(subjects), head, now_ms, finished_at_ms, changed, "{}")
                ledger.db.execute(f"INSERT INTO regulations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except BaseException:
            ledger.names.reload()
            raise
    return Regulation(id_, kind, subject_kind, len(subjects), head, now_ms, finished_at_ms, changed)


def _put_in_force(ledger: Ledger, id_: str, kind: Kind, subjects: Sequence[bytes], head: int, now_ms: int) -> int:
    db = ledger.db
    changed: set[bytes] = set()
    touched: dict[bytes, None] = {}
    for subject in subjects:
        keys = _suppressed_by(ledger, subject) if kind is Kind.UNSUPPRESS else all_keys(ledger, [subject])
        touched.update(dict.fromkeys(keys))
        for key in keys:
            if kind is Kind.UNSUPPRESS:
                db.execute(
                    "UPDATE regulated SET suppressed_to = ? WHERE key = ? AND by = ? AND suppressed_to = ?",
                    (head, key, subject, NO_END),
                )
                changed.update([key] if db.changes() else [])
            if kind.suppresses:
                db.execute(_SUPPRESS, (key, subject, NO_END))
                changed.update([key] if db.changes() else [])
            if kind.deletes:
                db.execute(_ERASE, (key, subject, head))
                db.execute("INSERT OR IGNORE INTO erasing VALUES (?, ?)", (id_, key))
    if kind is not Kind.SUPPRESS_ONLY:
        changed.update(erase_keys(ledger, touched))
    evidence = Evidence.ERASED if kind.deletes else Evidence.SUPPRESSED
    announce(ledger, touched, evidence, now_ms=now_ms)
    return len(changed)


def _suppressed_by(ledger: Ledger, subject: bytes) -> list[bytes]:
    rows = fetch(ledger.db, "SELECT key FROM regulated WHERE by = ? AND suppressed_to = ?", (subject, NO_END))
    return [key for (key,) in rows]


def reach(ledger: Ledger, subject_kind: SubjectKind, ids: Sequence[str]) -> frozenset[bytes]:
    """The keys that a regulation of these subjects would be about; changes nothing."""
    with errors_of(ledger.path):
        return frozenset(all_keys(ledger, [k for one in ids for k in ledger.keys.of(subject_kind.subject(one))]))


def find_regulation(ledger: Ledger, id_: str) -> Regulation | None:
    """The regulation with this id, None when there is none."""
    with errors_of(ledger.path):
        rows = fetch(ledger.db, f"SELECT {_COLUMNS} FROM regulations WHERE id = ?", (id_,))
    return _regulation(rows[0]) if rows else None


def newest(ledger: Ledger, *, limit: int) -> list[Regulation]:
    """The regulations that were asked for last, the newest first."""
    sql = f"SELECT {_COLUMNS} FROM regulations ORDER BY created_at_ms DESC, id LIMIT ?"
    with errors_of(ledger.path):
        return [_regulation(row) for row in fetch(ledger.db, sql, (limit,))]


def unfinished(ledger: Ledger) -> list[Regulation]:
    """The regulations whose traces are still to be erased, the oldest first."""
    sql = f"SELECT {_COLUMNS} FROM regulations WHERE finished_at_ms = 0 ORDER BY created_at_ms, id"
    with errors_of(ledger.path):
        return [_regulation(row) for row in fetch(ledger.db, sql)]


def keys_to_erase(ledger: Ledger, id_: str) -> frozenset[bytes]:
    """The subjects whose traces a regulation that is unfinished is to erase."""
    with errors_of(ledger.path):
        return frozenset(key for (key,) in fetch(ledger.db, "SELECT key FROM erasing WHERE regulation = ?", (id_,)))


def suppressed_to(ledger: Ledger, id_: str) -> int:
    """Up to which offset all subjects of an unfinished regulation are suppressed, `NO_END` while they still are.

    What came after the suppression of one of them had ended is nothing that the regulation was about.
    """
    with errors_of(ledger.path):
        ends = fetch(
            ledger.db,
            "SELECT max(suppressed_to) FROM erasing JOIN regulated USING (key) WHERE regulation = ? GROUP BY key",
            (id_,),
        )
    return min((end for (end,) in ends), default=NO_END)


def note(ledger: Ledger, id_: str, report: Mapping[str, Any]) -> None:
    """Remember how far a regulation has come, for the case that another process has to go on with it."""
    with errors_of(ledger.path):
        ledger.db.execute("UPDATE regulations SET report = ? WHERE id = ?", (json.dumps(report), id_))


def finish(ledger: Ledger, id_: str, report: Mapping[str, Any], *, now_ms: int) -> None:
    """Nothing is left of the subjects of a regulation; `report` tells what there was.

    What events that were on their way to the log have told the ledger since is erased too, unless they are no longer
    suppressed.
    """
    with errors_of(ledger.path):
        try:
            with transaction(ledger.db):
                regulation = find_regulation(ledger, id_)
                if regulation is not None and regulation.kind.suppresses and suppressed_to(ledger, id_) == NO_END:
                    announce(ledger, erase_keys(ledger, keys_to_erase(ledger, id_)), Evidence.ERASED, now_ms=now_ms)
                ledger.db.execute("DELETE FROM erasing WHERE regulation = ?", (id_,))
                values = (now_ms, json.dumps(report), id_)
                ledger.db.execute("UPDATE regulations SET finished_at_ms = ?, report = ? WHERE id = ?", values)
        except BaseException:
            ledger.names.reload()
            raise


def _regulation(row: Sequence[Any]) -> Regulation:
    id_, kind, subject_kind, n_subjects, head, created_at_ms, finished_at_ms, changed, report = row
    numbers = n_subjects, head, created_at_ms, finished_at_ms, changed
    return Regulation(id_, Kind(kind), SubjectKind(subject_kind), *numbers, json.loads(report))
