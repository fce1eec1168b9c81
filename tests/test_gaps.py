from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from sluicegate.gaps import clear_gaps, gap_of
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


def test_page_of_a_long_value_in_a_huge_file_is_not_taken_for_one_of_a_tree() -> None:
    rng = random.Random(7)
    # Such a page begins with the number of the page that follows, and the 33,554,432nd begins like an index.
    pages = [(kind << 24 | rng.randrange(1 << 24)).to_bytes(4) + rng.randbytes(4_092) for kind in (2, 5) * 10_000]

    assert [gap for page in pages if (gap := gap_of(page, 7, n_pages=6 << 24))] == []


def test_every_page_of_a_tree_in_a_huge_file_is_known_as_one(path: Path) -> None:
    data = path.read_bytes()
    pages = [data[at : at + 4_096] for at in range(0, len(data), 4_096)]

    small = [gap_of(page, number, n_pages=len(pages)) for number, page in enumerate(pages, 1)]
    huge = [gap_of(page, number, n_pages=1 << 31) for number, page in enumerate(pages, 1)]

    assert small == huge
    assert any(small)
