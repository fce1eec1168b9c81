"""The consent ledger: writes evidence, keeps its history, and the state that it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import apsw

from sluicegate.consent.evidence import Entry, Evidence, Link, Told, Writes
from sluicegate.consent.record import MAX_MEMBERS, Record, decode_record, encode_purposes, encode_record
from sluicegate.consent.slots import (
    EMPTY,
    MAX_MS,
    Purposes,
    Slots,
    Write,
    decided_by,
    is_denial,
    join,
    joined,
    outlives_a_decision,
    overruling,
    without_seen,
)
from sluicegate.consent.stamp import MAX_CATEGORIES
from sluicegate.consent.standing import NO_END
from sluicegate.consent.store import OTHER, StoredNames, open_ledger
from sluicegate.consent.subject import SubjectKeys
from sluicegate.sqlite import errors_of, fetch, transaction

MAX_OWNERS = 4
"""Steps from an id to the user that it came to belong to: a visitor, a user, and what that one was renamed to."""

_LOOK = "SELECT last, record FROM subjects WHERE key = ?"
_STORE = """
    INSERT INTO subjects VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET last = ?2, record = ?3
"""
_SUPPRESSED = "SELECT 1 FROM regulated WHERE key = ? AND suppressed_to = ? LIMIT 1"
_TOLD_DIRECTLY = frozenset({Evidence.API, Evidence.OPERATOR, Evidence.APPLICATION})
"""What no event brings: of suppressed people events are left out before they come here."""
_TELL = "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)"


class Recorded(NamedTuple):
    """After writing: the ledger's version, and the keys of the subjects that changed by it."""

    version: int
    changed: frozenset[bytes]


class Ledger:
    """The ledger in the file at `path`, for writing; one instance belongs to one thread, processes may share the file.

    `purposes` and `policy` are those of the configuration: they have room whatever clients have sent. With
    `waits=False` it waits for nothing: neither for others who write (`LogUnavailable`) nor for the disk. What it wrote
    then survives the end of the process at once, and that of the machine from the next `sync` on, of any instance.
    """

    def __init__(
        self,
        path: Path,
        key_path: Path,
        *,
        create: bool = True,
        purposes: Iterable[str] = (),
        policy: str = "",
        waits: bool = True,
    ) -> None:
        self.path = path
        self._db, self.keys = open_ledger(path, key_path, create=create)
        if not waits:
            with errors_of(path):
                self._db.set_busy_timeout(0)
                self._db.pragma("synchronous", "NORMAL")
                self._db.wal_autocheckpoint(0)  # which would wait for the disk; `sync` does it
        self.names = StoredNames(self._db, path)
        self._purposes = frozenset(purposes)
        self._register({*self._purposes, policy} - {""})

    def _register(self, names: Iterable[str]) -> None:
        new = [name for name in sorted(names) if name not in self.names.known]
        if new:
            with errors_of(self.path), transaction(self._db):
                for name in new:
                    self.names.number(name)

    @property
    def db(self) -> apsw.Connection:
        """The connection, for the other parts of the ledger."""
        return self._db

    def record(self, entries: Sequence[Entry], *, now_ms: int) -> Recorded:
        """Write evidence in one transaction, on disk when this returns (unless it was opened with `waits=False`).

        What is known already changes nothing, nor do decisions of suppressed people. Purposes beyond what there is room
        for are left out. Raises `LogUnavailable` and `LogDamaged`; then nothing is written.
        """
        try:
            with errors_of(self.path), transaction(self._db):
                batch = _Batch(self._db, self.names, self.keys, self._purposes, now_ms)
                for entry in entries:
                    if isinstance(entry, Told):
                        batch.tell(entry)
                    else:
                        batch.link(entry)
                return batch.store()
        except BaseException:
            self.names.reload()
            raise

    def sync(self) -> None:
        """Have on disk what anybody has written: a commit that waits for the disk takes all before it along."""
        with errors_of(self.path), transaction(self._db):
            self._db.execute("UPDATE facts SET version = version")

    def version(self) -> int:
        """The version after the last change by anybody."""
        with errors_of(self.path):
            version: int = fetch(self._db, "SELECT version FROM facts")[0][0]
        return version

    def close(self) -> None:
        """Release the file."""
        self._db.close()


class _Batch:
    """The changes of one transaction, in memory until `store`."""

    def __init__(
        self, db: apsw.Connection, names: StoredNames, keys: SubjectKeys, purposes: Set[str], now_ms: int
    ) -> None:
        self._db = db
        self._names = names
        self._keys = keys
        self._purposes = purposes
        self._now_ms = now_ms
        self._first: int = fetch(db, "SELECT version FROM facts")[0][0]
        self._version = self._first
        self._records: dict[bytes, Record] = {}
        self._last: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._history: list[tuple[object, ...]] = []

    def tell(self, told: Told) -> None:
        """Join evidence into every id that it is about; what is told directly of somebody suppressed is not taken."""
        keys = self._keys.of(told.subject)
        if not keys or (told.evidence in _TOLD_DIRECTLY and self._is_suppressed(keys)):
            return
        said = {purpose: joined(writes) for purpose, writes in self._with_room(told.writes).items()}
        self._join(keys[0], said, told.evidence, told.source)
        passed_on = {purpose: without_seen(slots) for purpose, slots in said.items()}
        if all(slots is EMPTY for slots in passed_on.values()):
            return  # seen on a device: nobody else has to be looked up for it
        for key in self.with_owners(keys)[1:]:
            self._join(key, passed_on, told.evidence, told.source)

    def link(self, link: Link) -> None:
        """Make ids the owner's, and give the owner what was decided under them."""
        owner, at_ms = self._keys.user(link.owner), min(max(link.at_ms, 0), MAX_MS)
        for key in self._keys.of(link.member):
            if key == owner:
                continue
            member = self._record(key)
            is_news = member.owner != owner
            passed_on = {purpose: without_seen(slots) for purpose, slots in member.purposes.items()}
            if (at_ms, owner) > (member.owner_since_ms, member.owner or b""):
                member.owner, member.owner_since_ms = owner, at_ms
                self._note(key, link.evidence if is_news else Evidence.STAMP_AGAIN, link.source, owner)
            elif is_news:  # told late: what was decided since it came to another owner is none of this one's
                until_ms = member.owner_since_ms
                passed_on = {purpose: decided_by(slots, until_ms) for purpose, slots in passed_on.items()}
            for place, heir in enumerate(self.with_owners((owner,))):
                if place == 0:
                    self._add_member(heir, key, link)
                self._join(heir, passed_on, link.evidence, link.source, other=key)

    def with_owners(self, keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """These keys and the users that the last of them (the user, if one is named) came to belong to."""
        found = dict.fromkeys(keys)
        key = keys[-1]
        for _ in range(MAX_OWNERS):
            owner = self._record(key).owner
            if owner is None or owner in found:
                break
            found[owner] = None
            key = owner
        return tuple(found)

    def store(self) -> Recorded:
        """Write all records and their history."""
        if not self._changed:
            return Recorded(self._first, frozenset())
        self._db.executemany(_TELL, self._history)
        rows = [(key, self._last[key], encode_record(self._records[key], self._names)) for key in sorted(self._changed)]
        self._db.executemany(_STORE, rows)
        self._db.execute("UPDATE facts SET version = ?", (self._version,))
        return Recorded(self._version, frozenset(self._changed))

    def _record(self, key: bytes) -> Record:
        record = self._records.get(key)
        if record is None:
            found = fetch(self._db, _LOOK, (key,))
            self._last[key] = found[0][0] if found else 0
            record = self._records[key] = decode_record(found[0][1], self._names) if found else Record()
        return record

    def _join(self, key: bytes, news: Purposes, evidence: Evidence, source: str, *, other: bytes = b"") -> None:
        record = self._record(key)
        changes: dict[str, Slots] = {}
        again = True
        for purpose, slots in news.items():
            before = record.purposes.get(purpose, EMPTY)
            slots = overruling(slots, before, self._now_ms)
            after = join(before, slots)
            if after == before or (before is EMPTY and not self._takes(record, purpose)):
                continue
            again = again and _same_again(before, after)
            record.purposes[purpose] = after
            changes[purpose] = slots
        if changes:
            evidence = Evidence.STAMP_AGAIN if again else evidence
            self._note(key, evidence, source, other + encode_purposes(changes, self._names))

    def _is_suppressed(self, keys: tuple[bytes, ...]) -> bool:
        return any(fetch(self._db, _SUPPRESSED, (key, NO_END)) for key in keys)

    def _takes(self, record: Record, purpose: str) -> bool:
        """Whether there is room for one more purpose of a subject."""
        return purpose in self._purposes or len(record.purposes) < MAX_CATEGORIES

    def _add_member(self, key: bytes, member: bytes, link: Link) -> None:
        record = self._record(key)
        if member not in record.members:
            record.members = [*record.members, member][-MAX_MEMBERS:]
            self._note(key, link.evidence, link.source, member)

    def _note(self, key: bytes, evidence: Evidence, source: str, what: bytes) -> None:
        """Give a change its version; what is only said again stays out of the subject's chain."""
        self._version += 1
        self._changed.add(key)
        previous = 0
        if evidence is not Evidence.STAMP_AGAIN:
            previous, self._last[key] = self._last[key], self._version
        number = self._names.number(source if self._names.has_room(source) else OTHER)
        self._history.append((self._version, key, previous, self._now_ms, evidence.value, number, what))

    def _with_room(self, writes: Writes) -> Writes:
        """Without the purposes and policies that have no number and can't get one."""
        has_room = self._names.has_room
        return {
            purpose: said if all([not w.policy or has_room(w.policy) for w in said]) else _without_policies(said)
            for purpose, said in writes.items()
            if has_room(purpose)
        }


def _without_policies(writes: tuple[Write, ...]) -> tuple[Write, ...]:
    return tuple([write._replace(policy="") for write in writes])


def _same_again(before: Slots, after: Slots) -> bool:
    """Whether only a newer event said what the newest had said before, and it comes to the same."""
    return (
        before.seen != 0
        and is_denial(before.seen) == is_denial(after.seen)
        and before._replace(seen=0) == after._replace(seen=0)
        and not outlives_a_decision(before, after)
    )
