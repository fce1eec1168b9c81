"""The consent ledger as its readers see it: what is known of subjects, and whether anything has changed since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from sluicegate.consent.ledger import MAX_OWNERS
from sluicegate.consent.past import Kinds, newest_denials, with_members
from sluicegate.consent.record import Record, decode_record
from sluicegate.consent.remembered import Remembered
from sluicegate.consent.settled import SettledOnes
from sluicegate.consent.slots import merge, without_seen
from sluicegate.consent.standing import NO_END, UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.consent.store import StoredNames, open_ledger
from sluicegate.consent.subject import Ids, Subject
from sluicegate.sqlite import errors_of, fetch, translated

MAX_REMEMBERED = 20_000
"""Subjects in memory, and as many again that are about to go: 1.6 KB each with an entry and 0.4 KB without."""

PURPOSES_OF_ONE = 8
"""So many of a subject take the room of one subject more: clients choose how many there are, up to a hundred."""

MAX_CHANGES = 50_000
"""Changes after which it is cheaper to forget everything than each of them."""

_CHUNK = 256
"""Keys in one statement; fewer are filled up, so that there is one statement to prepare."""

_DATA_VERSION = "PRAGMA data_version"
_VERSION = "SELECT version, forgotten FROM facts"
_CHANGES = "SELECT DISTINCT subject FROM history WHERE version > ?"
_ONE = "SELECT key, record FROM subjects WHERE key = ?"
_ANY_REGULATED = (
    f"SELECT EXISTS (SELECT 1 FROM regulated), EXISTS (SELECT 1 FROM regulated WHERE suppressed_to = {NO_END})"
)
_REGULATED = "SELECT max(erased_to), max(suppressed_to) FROM regulated WHERE key = ?"
_MANY = f"SELECT key, record FROM subjects WHERE key IN ({', '.join('?' * _CHUNK)})"


_UNREGULATED = (0, 0)


class Changes(NamedTuple):
    """What happened between two looks: the keys of the subjects that changed, None when it may be any of them."""

    version: int
    keys: frozenset[bytes] | None


class LedgerView:
    """Reads the ledger at `path`; one instance belongs to one thread, any number may read while others write.

    What was looked up is remembered until it has changed: `refresh` finds that, and so does a look into the file for
    what is not remembered. So whatever it tells is as of `version` when it returns. All methods
    raise `LogUnavailable` or `LogDamaged` when the ledger cannot be read: then nothing is known, and nothing may be
    delivered that needs consent.
    """

    def __init__(self, path: Path, key_path: Path, rules: Rules, *, max_remembered: int = MAX_REMEMBERED) -> None:
        self.path = path
        self._rules = rules
        self._db, self.keys = open_ledger(path, key_path, create=False)
        self._cursor = self._db.cursor()
        self._names = StoredNames(self._db, path)
        self._known: Remembered[SubjectConsent] = Remembered(max_remembered)
        self._data_version = -1
        self.has_regulated = False
        """Whether anybody was ever erased or suppressed."""
        self.has_suppressed = False
        """Whether anybody is suppressed."""
        self.version = 0
        """The ledger's version as of which everything is told; look-ups move it on too."""
        self.refresh()

    def refresh(self) -> Changes | None:
        """Look whether anything has changed since the last time: what, or None when nothing has.

        One call that finds nothing costs some microseconds; it is meant to be made before every attempt.
        """
        # This is on the path of every request: without the context manager it takes a third of the time.
        try:
            data_version = self._cursor.execute(_DATA_VERSION).get
        except apsw.Error as error:
            raise translated(error, self.path) from error
        if data_version == self._data_version:
            return None
        with self._snapshot():
            changes = self._changes()
        self._forget(changes)
        self._data_version = data_version
        return changes if changes.keys is None or changes.keys else None

    def _forget(self, changes: Changes) -> None:
        """Forget what has changed."""
        if changes.keys is None:
            self._known.clear()
        else:
            for key in changes.keys:
                self._known.forget(key)
        # Last: what fails half-way is done again.
        self.version = changes.version

    def _move_on(self) -> bool:
        """Take note of what has changed, inside the transaction of a look-up; whether anything had."""
        if fetch(self._db, _VERSION)[0][0] == self.version:
            return False
        self._forget(self._changes())
        return True

    def _changes(self) -> Changes:
        version, forgotten = fetch(self._db, _VERSION)[0]
        self.has_regulated, self.has_suppressed = map(bool, fetch(self._db, _ANY_REGULATED)[0])
        is_first = self._data_version < 0
        if is_first or forgotten > self.version or version - self.version > MAX_CHANGES:
            return Changes(version, None)
        if version == self.version:
            return Changes(version, frozenset())
        return Changes(version, frozenset(key for (key,) in fetch(self._db, _CHANGES, (self.version,))))

    def of(self, subject: Subject) -> SubjectConsent:
        """What is known of one subject."""
        return self.of_many([subject])[0]

    def of_many(self, subjects: Sequence[Ids]) -> list[SubjectConsent]:
        """What is known of each of these subjects, as (user id, anonymous id).

        Those that are not remembered are read in one transaction.
        """
        found: list[Any] = self._known.get_all(subjects)
        if None not in found:
            return found
        with self._snapshot():
            if self._move_on():
                found = self._known.get_all(subjects)
            missing = [subject for subject, known in zip(subjects, found, strict=True) if known is None]
            read = self._look_up(missing)
        return [known or read[subject] for subject, known in zip(subjects, found, strict=True)]

    def note_clear(self, subjects: Sequence[Ids]) -> None:
        """Remember, until something changes of them, that there is nothing against these subjects.

        They have been looked up; what there could be is the caller's to say. Those that are not remembered any more are
        left out.
        """
        self._known.note_clear(subjects)

    def are_clear(self, user_ids: Sequence[str | None], anonymous_ids: Sequence[str | None]) -> bool:
        """Whether all of these subjects were noted so, and nothing has changed of them.

        A quarter of the work of looking them up.
        """
        return self._known.clear_ones.cover(user_ids, anonymous_ids)

    @property
    def settled_ones(self) -> SettledOnes:
        """For whoever reads what events tell: of whom nothing has changed since it noted them there.

        Only those may be noted whom one look-up found as they were remembered.
        """
        return self._known.settled_ones

    def changed_since(self, version: int) -> frozenset[bytes] | None:
        """The keys of the subjects whose standing may have changed after a version, None when it may be anybody's.

        With an id these are all that belong to it; of somebody with more ids than are listed it may be anybody's.
        """
        with errors_of(self.path):
            if fetch(self._db, _VERSION)[0][1] > version or self.version - version > MAX_CHANGES:
                return None
            return with_members(self._db, self._names, {key for (key,) in fetch(self._db, _CHANGES, (version,))})

    def newest_denials(
        self, subject: Subject, purposes: Collection[str], *, gpc: bool, since_ms: int = 0
    ) -> dict[str, int]:
        """When the newest denial of each of these purposes was recorded (Unix ms), whatever came then.

        Those from before `since_ms` may be missing. What was only seen of another device does not count, as in `of`,
        and Global Privacy Control with `gpc` alone.
        """
        records: dict[bytes, Record | None] = {}
        newest: dict[str, int] = {}
        keys = self.keys.of(subject)
        with self._snapshot():
            self._move_on()
            self._read(set(keys), records)
            self._read_owners(records)
            for place, key in enumerate(_with_owners(keys, records)):
                kinds = Kinds(place == 0, gpc)
                found = newest_denials(self._db, self._names, key, purposes, kinds, since_ms=since_ms)
                newest.update({one: max(at_ms, newest.get(one, 0)) for one, at_ms in found.items()})
        return newest

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    # -- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One transaction: all that is read in it is of one moment."""
        with errors_of(self.path):
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def _look_up(self, subjects: Sequence[Ids]) -> dict[Ids, SubjectConsent]:
        """Read what is not remembered, inside the caller's transaction."""
        keys_of = {subject: self.keys.of(subject) for subject in subjects}
        records: dict[bytes, Record | None] = {}
        bounds: dict[bytes, tuple[int, int]] = {}
        own = {key for keys in keys_of.values() for key in keys}
        self._read(own, records)
        if self.has_regulated:
            bounds = {key: bound for key in own if (bound := self._bounds(key)) != _UNREGULATED}
        owners = self._read_owners(records)
        found = {}
        for subject, keys in keys_of.items():
            regulated = [bounds[key] for key in keys if key in bounds] if bounds else ()
            keys = _with_owners(keys, records) if owners else keys
            found[subject] = known = self._merged(keys, records, regulated)
            self._known.put(subject, known, keys, size=1 + len(known.slots) // PURPOSES_OF_ONE)
        return found

    def _read_owners(self, records: dict[bytes, Record | None]) -> set[bytes]:
        """Read those that the records belong to; the first of them."""
        first: set[bytes] = set()
        for _ in range(MAX_OWNERS):
            owners = {record.owner for record in records.values() if record is not None and record.owner}
            first = first or owners
            if not self._read(owners - records.keys(), records):
                break
        return first

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

    def _bounds(self, key: bytes) -> tuple[int, int]:
        """Up to where events of this id were erased and suppressed."""
        erased_to, suppressed_to = fetch(self._db, _REGULATED, (key,))[0]
        return erased_to or 0, suppressed_to or 0

    def _merged(
        self, keys: tuple[bytes, ...], records: dict[bytes, Record | None], regulated: Sequence[tuple[int, int]]
    ) -> SubjectConsent:
        """The newest of all ids; what was only seen counts of the first, which is the device."""
        parts = []
        for place, key in enumerate(keys):
            record = records[key]
            if record is not None and record.purposes:
                passes_on = record.purposes if place == 0 else _passed_on(record)
                parts.append(passes_on)
        if not parts and not regulated:
            return UNKNOWN_SUBJECT
        slots = parts[0] if len(parts) == 1 else merge(parts)
        if not regulated:
            return SubjectConsent(slots, self._rules)
        erased_to, suppressed_to = (max(bounds) for bounds in zip(*regulated, _UNREGULATED, strict=True))
        return SubjectConsent(slots, self._rules, erased_to=erased_to, suppressed_to=suppressed_to)


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
