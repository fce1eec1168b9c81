"""The consent ledger as its readers see it: what is known of subjects, and whether anything has changed since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sluicegate.consent.ledger import MAX_OWNERS
from sluicegate.consent.past import Kinds, newest_denials, with_members
from sluicegate.consent.record import Record, decode_record
from sluicegate.consent.remembered import Remembered
from sluicegate.consent.slots import merge, without_seen
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.consent.store import StoredNames, open_ledger
from sluicegate.consent.subject import Subject
from sluicegate.sqlite import errors_of, fetch

MAX_REMEMBERED = 20_000
"""Subjects in memory, and as many again that are about to go: 1.6 KB each with an entry and 0.4 KB without."""

MAX_CHANGES = 50_000
"""Changes after which it is cheaper to forget everything than each of them."""

_CHUNK = 256
"""Keys in one statement; fewer are filled up, so that there is one statement to prepare."""

_VERSION = "SELECT version, forgotten FROM facts"
_CHANGES = "SELECT DISTINCT subject FROM history WHERE version > ?"
_ONE = "SELECT key, record FROM subjects WHERE key = ?"
_MANY = f"SELECT key, record FROM subjects WHERE key IN ({', '.join('?' * _CHUNK)})"


class Changes(NamedTuple):
    """What happened between two looks: the keys of the subjects that changed, None when it may be any of them."""

    version: int
    keys: frozenset[bytes] | None


class LedgerView:
    """Reads the ledger at `path`; one instance belongs to one thread, any number may read while others write.

    What was looked up is remembered until `refresh` finds that it has changed. All methods raise `LogUnavailable` or
    `LogDamaged` when the ledger cannot be read: then nothing is known, and nothing may be delivered that needs consent.
    """

    def __init__(self, path: Path, key_path: Path, rules: Rules, *, max_remembered: int = MAX_REMEMBERED) -> None:
        self.path = path
        self._rules = rules
        self._db, self.keys = open_ledger(path, key_path, create=False)
        self._names = StoredNames(self._db, path)
        self._known: Remembered[SubjectConsent] = Remembered(max_remembered)
        self._data_version = -1
        self.version = 0
        """The ledger's version at the last `refresh`; what is looked up is never older."""
        self.refresh()

    def refresh(self) -> Changes | None:
        """Look whether anything has changed since the last time: what, or None when nothing has.

        One call that finds nothing costs some microseconds; it is meant to be made before every attempt.
        """
        with errors_of(self.path):
            data_version = self._db.pragma("data_version")
            if data_version == self._data_version:
                return None
            self._db.execute("BEGIN")
            try:
                changes = self._changes()
            finally:
                self._db.execute("COMMIT")
        if changes.keys is None:
            self._known.clear()
        else:
            for key in changes.keys:
                self._known.forget(key)
        # Last: what fails half-way is done again.
        self.version = changes.version
        self._data_version = data_version
        return changes if changes.keys is None or changes.keys else None

    def _changes(self) -> Changes:
        version, forgotten = fetch(self._db, _VERSION)[0]
        is_first = self._data_version < 0
        if is_first or forgotten > self.version or version - self.version > MAX_CHANGES:
            return Changes(version, None)
        if version == self.version:
            return Changes(version, frozenset())
        return Changes(version, frozenset(key for (key,) in fetch(self._db, _CHANGES, (self.version,))))

    def of(self, subject: Subject) -> SubjectConsent:
        """What is known of one subject."""
        known = self._known.get(subject)
        return known if known is not None else self._look_up([subject])[subject]

    def of_many(self, subjects: Sequence[tuple[str | None, str | None]]) -> list[SubjectConsent]:
        """What is known of each of these subjects, as (user id, anonymous id).

        Those that are not remembered are read in one transaction.
        """
        get: Any = self._known.get  # a plain tuple finds the subject that equals it
        found = [get(subject) for subject in subjects]
        missing = {Subject(*subject) for subject, known in zip(subjects, found, strict=True) if known is None}
        if not missing:
            return found
        read: Any = self._look_up(list(missing))
        columns = zip(subjects, found, strict=True)
        return [known or read[subject] for subject, known in columns]

    def changed_since(self, version: int) -> frozenset[bytes] | None:
        """The keys of the subjects whose standing may have changed after a version, None when it may be anybody's.

        With an id these are all that belong to it.
        """
        with errors_of(self.path):
            if fetch(self._db, _VERSION)[0][1] > version or self.version - version > MAX_CHANGES:
                return None
            return with_members(self._db, self._names, {key for (key,) in fetch(self._db, _CHANGES, (version,))})

    def newest_denials(self, subject: Subject, purposes: Collection[str], *, gpc: bool) -> dict[str, int]:
        """When the newest denial of each of these purposes was recorded (Unix ms), whatever came then.

        What was only seen of another device does not count, as in `of`, and Global Privacy Control with `gpc` alone.
        """
        records: dict[bytes, Record | None] = {}
        with errors_of(self.path):
            keys = self.keys.of(subject)
            self._read(set(keys), records)
            for _ in range(MAX_OWNERS):
                owners = {record.owner for record in records.values() if record is not None and record.owner}
                if not self._read(owners - records.keys(), records):
                    break
            newest: dict[str, int] = {}
            for place, key in enumerate(_with_owners(keys, records)):
                found = newest_denials(self._db, self._names, key, purposes, Kinds(place == 0, gpc))
                newest.update({one: max(at_ms, newest.get(one, 0)) for one, at_ms in found.items()})
            return newest

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    # -- reading ----------------------------------------------------------------------------------------------------

    def _look_up(self, subjects: Sequence[Subject]) -> dict[Subject, SubjectConsent]:
        keys_of = {subject: self.keys.of(subject) for subject in subjects}
        records: dict[bytes, Record | None] = {}
        with errors_of(self.path):
            self._db.execute("BEGIN")
            try:
                self._read({key for keys in keys_of.values() for key in keys}, records)
                for _ in range(MAX_OWNERS):
                    owners = {record.owner for record in records.values() if record is not None and record.owner}
                    if not self._read(owners - records.keys(), records):
                        break
            finally:
                self._db.execute("COMMIT")
        found = {}
        for subject, keys in keys_of.items():
            keys = _with_owners(keys, records)
            found[subject] = known = self._merged(keys, records)
            self._known.put(subject, known, keys)
        return found

    def _read(self, wanted: set[Any], records: dict[bytes, Record | None]) -> bool:
        """Read the records with these keys; whether there were any to read."""
        keys = list(wanted)
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            records.update(dict.fromkeys(chunk))
            for key, data in self._rows(chunk):
                records[key] = decode_record(data, self._names)
        return bool(keys)

    def _rows(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
        if len(keys) < 8:
            return [row for key in keys for row in fetch(self._db, _ONE, (key,))]
        return fetch(self._db, _MANY, (*keys, *[None] * (_CHUNK - len(keys))))

    def _merged(self, keys: tuple[bytes, ...], records: dict[bytes, Record | None]) -> SubjectConsent:
        """The newest of all ids; what was only seen counts of the first, which is the device."""
        parts = []
        for place, key in enumerate(keys):
            record = records[key]
            if record is not None and record.purposes:
                passes_on = record.purposes if place == 0 else _passed_on(record)
                parts.append(passes_on)
        if not parts:
            return UNKNOWN_SUBJECT
        return SubjectConsent(parts[0] if len(parts) == 1 else merge(parts), self._rules)


def _passed_on(record: Record) -> dict[str, Any]:
    return {purpose: without_seen(slots) for purpose, slots in record.purposes.items()}


def _with_owners(keys: tuple[bytes, ...], records: dict[bytes, Record | None]) -> tuple[bytes, ...]:
    """These keys and the users that the last of them came to belong to."""
    found = dict.fromkeys(keys)
    key = keys[-1] if keys else None
    for _ in range(MAX_OWNERS):
        record = records.get(key) if key is not None else None
        if record is None or record.owner is None or record.owner in found:
            break
        key = record.owner
        found[key] = None
    return tuple(found)
