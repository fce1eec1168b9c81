"""What the ledger knew at an earlier version, worked out from its history."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from sluicegate.consent.evidence import Evidence
from sluicegate.consent.history import Change, history_of_key
from sluicegate.consent.ledger import MAX_OWNERS, Ledger
from sluicegate.consent.past import Kinds, marks_of
from sluicegate.consent.record import Record, decode_record
from sluicegate.consent.slots import Purposes, is_denial, merge, without_seen
from sluicegate.consent.standing import Rules, Standing, Standings, SubjectConsent
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.sqlite import errors_of, fetch

_LINKS = frozenset({Evidence.IDENTIFY, Evidence.ALIAS})


class Known(NamedTuple):
    """What was known of one subject at a version: marks by purpose, and how it stood by them.

    `is_whole` is false when a part of the history has been removed since, so that more may have been known.
    """

    version: int
    marks: Purposes
    standings: Standings
    is_whole: bool

    def of(self, purpose: str) -> Standing:
        """How the subject stood on a purpose."""
        return self.standings.of(purpose)


class LedgerPast:
    """Reads the history of the ledger at `path`; raises `LogUnavailable` and `LogDamaged` when it cannot be read."""

    def __init__(self, path: Path, key_path: Path, rules: Rules) -> None:
        self._ledger = Ledger(path, key_path, create=False)
        self._view = LedgerView(path, key_path, rules)
        self._rules = rules

    @property
    def version(self) -> int:
        """The newest version."""
        return self._view.version

    def version_at(self, moment_ms: int) -> int:
        """The version that the ledger had at a moment; 0 when what is left of the history begins later."""
        with errors_of(self._ledger.path):
            sql = "SELECT coalesce(max(version), 0) FROM history WHERE recorded_at_ms <= ?"
            version: int = fetch(self._ledger.db, sql, (moment_ms,))[0][0]
        return version

    def of(self, subject: Subject, version: int, *, gpc: bool, now_ms: int) -> Known:
        """What was known of a subject at a version, and how it stood by that at a moment."""
        marks = self._marks(subject, version)
        standings = SubjectConsent(marks, self._rules).standings(gpc=gpc, now_ms=now_ms)
        told = SubjectConsent(self._marks(subject, self.version), self._rules).standings(gpc=gpc, now_ms=now_ms)
        holds = self._view.of(subject).standings(gpc=gpc, now_ms=now_ms)
        is_whole = all(told.of(purpose).state is standing.state for purpose, standing in holds.by_purpose.items())
        return Known(version, marks, standings, is_whole)

    def changes(
        self, subject: Subject, purposes: Collection[str], *, granted: bool, up_to: int, gpc: bool
    ) -> list[Change]:
        """The changes that granted, or else denied, one of these purposes up to a version, the newest first.

        What was only seen of another id is none of them, and Global Privacy Control with `gpc` alone.
        """
        found = [
            change
            for place, key in enumerate(self._keys(subject, up_to))
            for change in history_of_key(self._ledger, key)
            if change.version <= up_to and _says(change, purposes, granted, Kinds(place == 0, gpc))
        ]
        return sorted(found, key=lambda change: change.version, reverse=True)

    def close(self) -> None:
        """Release the files."""
        self._view.close()
        self._ledger.close()

    def _marks(self, subject: Subject, version: int) -> Purposes:
        """The newest of all ids; what was only seen counts of the first, which is the device."""
        parts: list[Purposes] = []
        for place, key in enumerate(self._keys(subject, version)):
            for change in history_of_key(self._ledger, key):
                if change.version <= version:
                    said = change.said
                    parts.append(said if place == 0 else {p: without_seen(slots) for p, slots in said.items()})
        return merge(parts)

    def _keys(self, subject: Subject, version: int) -> tuple[bytes, ...]:
        """The keys of the ids, and of the users that the last of them belonged to by then."""
        found = dict.fromkeys(self._ledger.keys.of(subject))
        key = next(reversed(found), None)
        for _ in range(MAX_OWNERS):
            owner = None if key is None else self._owner(key, version)
            if owner is None or owner in found:
                break
            found[owner] = None
            key = owner
        return tuple(found)

    def _owner(self, key: bytes, version: int) -> bytes | None:
        """The user that an id belonged to then: of an id that was linked with others it may be the user or a member."""
        now = self._record(key).owner
        for change in history_of_key(self._ledger, key):
            is_link = change.evidence in _LINKS and not change.said and change.version <= version
            if is_link and (change.other == now or key in self._record(change.other).members):
                return change.other
        return None

    def _record(self, key: bytes) -> Record:
        with errors_of(self._ledger.path):
            rows = fetch(self._ledger.db, "SELECT record FROM subjects WHERE key = ?", (key,))
        return decode_record(rows[0][0], self._ledger.names) if rows else Record()


def _says(change: Change, purposes: Collection[str], granted: bool, kinds: Kinds) -> bool:
    marks = [mark for p, slots in change.said.items() if p in purposes for mark in marks_of(slots, kinds)]
    return any(mark and is_denial(mark) is not granted for mark in marks)
