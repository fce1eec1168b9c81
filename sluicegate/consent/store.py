"""The ledger's file: its tables, and the numbers that stand for names in it.

    subjects(key, last, record)    what holds now; `last` is the newest version in `history` of that subject
    history(version, subject, previous, recorded_at_ms, evidence, source, what)    one row per change of one subject
    names(id, name)                purposes, policies and sources
    facts(fingerprint, version, forgotten, swept)
    regulated(key, by, erased_to, suppressed_to)    up to which offset of the log a subject's events may go nowhere
    regulations, erasing                            what was asked for, and the keys whose traces are still to be erased

The rows of one subject's history are a chain from `last` over `previous`, which saves an index of 30 bytes a row.
Versions are dense and never used twice. Up to `forgotten` the history has gaps; up to `swept` it has no rows any more
that only say "the same again".
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import apsw

from sluicegate.consent.record import MAX_NUMBER
from sluicegate.consent.stamp import MAX_CATEGORY_LENGTH
from sluicegate.consent.subject import SubjectKeys, load_secret
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.sqlite import Schema, connect, errors_of, fetch, transaction

REGULATED_SQL = """
    CREATE TABLE IF NOT EXISTS regulated (
        key BLOB NOT NULL, by BLOB NOT NULL, erased_to INTEGER NOT NULL, suppressed_to INTEGER NOT NULL,
        PRIMARY KEY (key, by)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS regulated_by ON regulated (by);
    CREATE TABLE IF NOT EXISTS regulations (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject_kind TEXT NOT NULL, n_subjects INTEGER NOT NULL,
        head INTEGER NOT NULL, created_at_ms INTEGER NOT NULL, finished_at_ms INTEGER NOT NULL,
        changed INTEGER NOT NULL, report TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS erasing (
        regulation TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (regulation, key)
    ) STRICT, WITHOUT ROWID
"""
"""Added to a ledger of a version that knew no erasing when it is opened; older versions don't look at it."""

SCHEMA = Schema(
    what="consent ledger",
    application_id=0x53476C72,  # "SGlr"
    version=1,
    sql=f"""
    CREATE TABLE subjects (key BLOB PRIMARY KEY, last INTEGER NOT NULL, record BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        version INTEGER PRIMARY KEY, subject BLOB NOT NULL, previous INTEGER NOT NULL, recorded_at_ms INTEGER NOT NULL,
        evidence INTEGER NOT NULL, source INTEGER NOT NULL, what BLOB NOT NULL
    ) STRICT;
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE facts (
        id INTEGER PRIMARY KEY CHECK (id = 1), fingerprint BLOB NOT NULL, version INTEGER NOT NULL,
        forgotten INTEGER NOT NULL, swept INTEGER NOT NULL
    ) STRICT;
    INSERT INTO facts VALUES (1, x'', 0, 0, 0);
    {REGULATED_SQL}
    """,
)

MAX_LEARNED = 4_096
"""Names that clients can make us keep, and those of one record more; purposes of the configuration always have room."""

CACHE_KIB = 8_192
"""Of pages in memory, for each that opens the ledger: subjects lie scattered over the file."""

OTHER = "(other)"
"""Stands for the sources that had no room."""


class NotBegun(LogUnavailable):
    """A ledger whose key is not made yet: it has never held anything."""


def open_ledger(
    path: Path, key_path: Path, *, create: bool = True, readonly: bool = False
) -> tuple[apsw.Connection, SubjectKeys]:
    """The ledger in this file with the key in that one; both are made when `create` and there is no ledger.

    Raises `LogDamaged` when one of the two is missing or they don't belong together, `LogUnavailable` when trying again
    may help: `NotBegun` for one that somebody is just making, or has died making, unless this is to `create` it.
    """
    with errors_of(path):
        is_missing = key_path.exists() and not path.exists()
    if is_missing:
        raise LogDamaged(f"{path}: the {SCHEMA.what} is missing; restore it, or remove {key_path} to begin anew")
    db = connect(path, SCHEMA, synchronous="FULL", create=create, readonly=readonly)
    try:
        with errors_of(path):
            db.pragma("cache_size", -CACHE_KIB)
            if not readonly and not fetch(db, "SELECT 1 FROM sqlite_schema WHERE name = 'erasing'"):
                with transaction(db):
                    db.execute(REGULATED_SQL)
            is_new = fetch(db, "SELECT fingerprint = x'' FROM facts")[0][0]
            if is_new and not create:
                raise NotBegun(f"{path}: the {SCHEMA.what} is being begun; try again")
            keys = SubjectKeys(load_secret(key_path, create=bool(is_new)))
            if is_new:
                db.execute("UPDATE facts SET fingerprint = ? WHERE fingerprint = x''", (keys.fingerprint,))
            fingerprint = fetch(db, "SELECT fingerprint FROM facts")[0][0]
        if fingerprint != keys.fingerprint:
            raise LogDamaged(f"{path}: was written with another key than {key_path}; restore both together")
    except BaseException:
        db.close()
        raise
    return db, keys


class StoredNames:
    """Names and their numbers, remembered; new ones are stored in the transaction that is open."""

    def __init__(self, db: apsw.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self.reload()

    def reload(self) -> None:
        """Forget what a transaction that was rolled back has added."""
        with errors_of(self._path):
            rows = fetch(self._db, "SELECT id, name FROM names")
        self._names = dict(rows)
        self._numbers = {name: number for number, name in rows}

    def number(self, name: str) -> int:
        """The number of a name, a new one for a new name."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        found = fetch(self._db, "SELECT id FROM names WHERE name = ?", (name,))  # another process may have added it
        if found:
            number = int(found[0][0])
        else:
            number = int(fetch(self._db, "SELECT coalesce(max(id), 0) + 1 FROM names")[0][0])
            if number > MAX_NUMBER:
                raise LogDamaged(f"{self._path}: has more names than it can number")
            self._db.execute("INSERT INTO names VALUES (?, ?)", (number, name))
        self._names[number] = name
        self._numbers[name] = number
        return number

    def name(self, number: int) -> str:
        """The name with this number; raises `LogDamaged` for one that was never given."""
        name = self._names.get(number)
        if name is None:
            self.reload()
            name = self._names.get(number)
            if name is None:
                raise LogDamaged(f"{self._path}: a record names number {number}, which stands for nothing")
        return name

    @property
    def known(self) -> Collection[str]:
        """Every name that has a number."""
        return self._numbers.keys()

    def has_room(self, name: str) -> bool:
        """Whether a name that a client sent has a number, or can get one."""
        if name in self._numbers:
            return True
        return len(self._numbers) < MAX_LEARNED and 0 < len(name) <= MAX_CATEGORY_LENGTH and name.isprintable()
