from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from sluicegate.gaps import clear_gaps
from sluicegate.sqlite import Schema, connect, fetch, transaction

SCHEMA = Schema("test", 0x53475454, 1, "CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)", shrinks=True)
SECRETS = tuple(f"secret-{number:02d}".encode() for number in range(12))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Rows of all sizes, of which most were made smaller, so that SQLite has moved the others between pages."""
    db = connect(tmp_path / "t.db", SCHEMA)
    rng = random.Random(5)
    with transaction(db):
        for key in range(3_000):
            noise = rng.randbytes(rng.choice([0, 10, 100, 450, 1_500]))
            db.execute("INSERT INTO t VALUES (?, ?)", (key, rng.choice(SECRETS) + noise))
    for secret in SECRETS[:-1]:
        with transaction(db):
            for (key,) in fetch(db, "SELECT a FROM t WHERE substr(b, 1, ?) = ?", (len(secret), secret)):
                db.execute("DELETE FROM t WHERE a = ?", (key,))
                db.execute("INSERT INTO t VALUES (?, ?)", (key, rng.randbytes(rng.choice([1, 60, 200]))))
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.close()
    return tmp_path / "t.db"


def left_in(path: Path) -> list[bytes]:
    files = [path, path.with_name(path.name + "-wal")]
    data = b"".join(file.read_bytes() for file in files if file.exists())
    return [secret for secret in SECRETS[:-1] if secret in data]


def test_what_moved_rows_have_left_behind_is_overwritten_and_no_row_changes(path: Path) -> None:
    db = connect(path, SCHEMA)
    before, left = fetch(db, "SELECT * FROM t"), left_in(path)

    n_cleared = clear_gaps(db, path)
    again = clear_gaps(db, path)

    assert (len(left) > 0, n_cleared > 0, again) == (True, True, 0)
    assert left_in(path) == []
    assert fetch(db, "SELECT * FROM t") == before
    assert fetch(db, "PRAGMA integrity_check") == [("ok",)]
    assert fetch(db, "PRAGMA user_version") == [(SCHEMA.version,)]
    db.close()


def test_a_connection_that_remembers_the_pages_does_not_bring_it_back(path: Path) -> None:
    other, db = connect(path, SCHEMA), connect(path, SCHEMA)
    fetch(other, "SELECT sum(length(b)) FROM t")

    clear_gaps(db, path)
    with transaction(other):
        for key in range(0, 3_000, 3):
            other.execute("UPDATE t SET b = x'01' WHERE a = ?", (key,))
    left = left_in(path)
    clear_gaps(db, path)

    assert left == []
    assert fetch(other, "PRAGMA integrity_check") == [("ok",)]
    other.close()
    db.close()


def test_the_locks_of_other_connections_of_the_process_stay(path: Path) -> None:
    other, db = connect(path, SCHEMA), connect(path, SCHEMA)
    fetch(other, "SELECT count(*) FROM t")
    locks = _locks_on(path)

    clear_gaps(db, path)

    assert locks != []
    assert _locks_on(path) == locks
    other.close()
    db.close()


def _locks_on(path: Path) -> list[str]:
    """The locks of this process on a file, as Linux lists them."""
    inode = str(path.stat().st_ino)
    lines = Path("/proc/locks").read_text().splitlines()
    return sorted(" ".join(line.split()[1:]) for line in lines if line.split()[5].split(":")[-1] == inode)
