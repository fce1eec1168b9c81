from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sluicegate import sqlite
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import batch_of
from sluicegate.testing.disk import FaultyDisk
from sluicegate.testing.eventlog_contract import read_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "events.db"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.unregister()


def test_power_cut_loses_nothing_that_was_acknowledged(path: Path, disk: FaultyDisk, tmp_path: Path) -> None:
    log = SqliteLog(path)
    for index in range(20):
        log.append([batch_of([b"%d" % index])], received_at_ms=1)

        after = SqliteLog(disk.power_cut(path.parent, tmp_path / f"cut-{index}") / "events.db")

        assert (after.head(), len(read_all(after))) == (index + 1, index + 1)


def test_power_cut_is_noticed_without_full_sync(path: Path, disk: FaultyDisk, tmp_path: Path) -> None:
    log = SqliteLog(path)
    log._db.pragma("synchronous", "NORMAL")
    log.append([batch_of([b"a"])], received_at_ms=1)

    after = SqliteLog(disk.power_cut(path.parent, tmp_path / "cut") / "events.db")

    assert after.head() == 0


def test_failed_sync_is_fatal_and_not_tried_again(path: Path, disk: FaultyDisk) -> None:
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)
    disk.fail_sync = True

    with pytest.raises(LogDamaged, match="fsync"):
        log.append([batch_of([b"b"])], received_at_ms=2)
    disk.fail_sync = False

    with pytest.raises(LogDamaged, match="fsync"):
        log.append([batch_of([b"c"])], received_at_ms=3)


def test_failed_sync_of_a_checkpoint_refuses_the_next_append(
    path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.eventlog.checkpoints.CHECKPOINT_PAGES", 1)
    log = SqliteLog(path)
    log.append([batch_of([b"0"])], received_at_ms=1)
    monkeypatch.setattr("sluicegate.eventlog.checkpoints.AUTO_CHECKPOINT_PAGES", 1)
    log._db.pragma("synchronous", "NORMAL")  # so that only the checkpoint syncs
    disk.fail_sync = True

    assert log.append([batch_of([b"a"])], received_at_ms=1) == [2]
    disk.fail_sync = False

    with pytest.raises(LogDamaged, match="fsync"):
        log.append([batch_of([b"b"])], received_at_ms=2)


def test_full_disk_stores_nothing_and_recovers(path: Path, disk: FaultyDisk) -> None:
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)
    disk.full = True

    for _ in range(3):
        with pytest.raises(LogUnavailable, match="disk is full"):
            log.append([batch_of([b"b"]), batch_of([b"c" * 2_000_000])], received_at_ms=2)
    disk.full = False

    assert log.append([batch_of([b"d"])], received_at_ms=3) == [2]
    assert read_all(log) == [(1, b"a"), (2, b"d")]


def test_full_disk_at_a_checkpoint_is_no_error(path: Path, disk: FaultyDisk, caplog: pytest.LogCaptureFixture) -> None:
    log = SqliteLog(path)
    for _ in range(10):
        log.append([batch_of([os.urandom(1_000_000)])], received_at_ms=1)
    disk.full = True

    log.maintain()

    assert "could not be moved" in caplog.text


def test_checkpoint_empties_the_wal_for_reuse(path: Path) -> None:
    log = SqliteLog(path)
    sizes = []
    for _ in range(30):
        log.append([batch_of([os.urandom(1_000_000)])], received_at_ms=1)
        log.maintain()
        sizes.append(path.with_name("events.db-wal").stat().st_size)

    assert max(sizes) < 12_000_000


def test_log_that_is_never_idle_checkpoints_by_itself(path: Path) -> None:
    log = SqliteLog(path)

    for _ in range(60):
        log.append([batch_of([os.urandom(1_000_000)])], received_at_ms=1)

    assert path.with_name("events.db-wal").stat().st_size < 24_000_000


def test_wal_that_readers_kept_from_reuse_is_emptied_when_they_are_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.eventlog.checkpoints.WAL_MAX_PAGES", 1_100)
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trimmed").fetchall()
    for _ in range(10):
        log.append([batch_of([os.urandom(1_000_000)])], received_at_ms=1)
        log.maintain()
    grown = path.with_name("events.db-wal").stat().st_size

    reader.execute("COMMIT")
    log.append([batch_of([b"a"])], received_at_ms=1)
    log.maintain()

    assert grown > 10_000_000
    assert path.with_name("events.db-wal").stat().st_size == 0


def test_missing_log_is_not_made_silently(path: Path) -> None:
    with pytest.raises(LogDamaged, match="missing"):
        SqliteLog(path, create=False)

    assert not path.exists()


@pytest.mark.parametrize("size", [0, 10, 4096])
def test_truncated_log_is_refused(path: Path, size: int) -> None:
    log = SqliteLog(path)
    log.append([batch_of([os.urandom(100_000)])], received_at_ms=1)
    log.close()
    os.truncate(path, size)

    with pytest.raises(LogDamaged):
        SqliteLog(path).append([batch_of([b"b"])], received_at_ms=2)


def test_torn_wal_loses_its_tail_only(path: Path, tmp_path: Path) -> None:
    log = SqliteLog(path)
    for index in range(10):
        log.append([batch_of([b"%d" % index * 3_000])], received_at_ms=1)
    whole = read_all(log)
    size = path.with_name("events.db-wal").stat().st_size
    kept = set()

    for cut in range(0, size, size // 23):
        folder = tmp_path / f"torn-{cut}"
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns("*-shm"))
        os.truncate(folder / "events.db-wal", cut)
        found = read_all(SqliteLog(folder / "events.db"))
        kept.add(len(found))
        assert found == whole[: len(found)]

    assert len(kept) > 5


def test_many_rows_are_trimmed_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.eventlog.sqlite.TRIM_ROWS", 3)
    log = SqliteLog(path)
    for _ in range(10):
        log.append([batch_of([b"a", b"b"])], received_at_ms=1)

    assert (log.trim(18), log.tail(), log.head()) == (16, 17, 20)


def test_database_made_by_two_at_once_is_one(path: Path) -> None:
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)

    sqlite._build(path, SCHEMA)

    assert SqliteLog(path).head() == 1
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["events.db", "events.db-shm", "events.db-wal"]


def test_log_that_lost_its_database_but_not_its_wal_is_refused(path: Path) -> None:
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)
    path.unlink()

    with pytest.raises(LogDamaged, match=r"events\.db-wal is there"):
        SqliteLog(path)


def test_changed_byte_of_an_event_is_noticed(path: Path) -> None:
    log = SqliteLog(path)
    event = os.urandom(50_000)  # cannot be compressed
    log.append([batch_of([event])], received_at_ms=1)
    log.close()
    piece = event[20_000:20_010]
    path.write_bytes(path.read_bytes().replace(piece, piece[:-1] + bytes([piece[-1] ^ 1])))
    (row,) = (again := SqliteLog(path)).read(0, max_events=9, max_bytes=9)

    with pytest.raises(LogDamaged, match="events 1 to 1 are damaged"):
        again.events(row)


def test_events_that_look_alike_are_stored_compressed(path: Path) -> None:
    log = SqliteLog(path)
    events = [b'{"type":"track","messageId":"m%d","properties":{"color":"green"}}' % number for number in range(2_000)]
    log.append([batch_of(events)], received_at_ms=1)
    (row,) = log.read(0, max_events=9, max_bytes=9)
    log.maintain()

    restored = log.events(row)

    assert restored == events
    assert row.n_bytes == len(b",".join(events))
    assert path.stat().st_size < row.n_bytes


def test_log_of_a_newer_version_is_refused(path: Path) -> None:
    SqliteLog(path).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA.version + 1)
    connection.close()

    with pytest.raises(LogDamaged, match="upgrade Sluicegate"):
        SqliteLog(path)


def test_database_of_another_kind_is_refused(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE rows (first)")
    connection.close()

    with pytest.raises(LogDamaged, match="is not a Sluicegate event log"):
        SqliteLog(path)


def test_files_are_for_the_owner_alone(path: Path) -> None:
    log = SqliteLog(path)
    log.append([batch_of([b"a"])], received_at_ms=1)

    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}

    assert modes == {"events.db": 0o600, "events.db-wal": 0o600, "events.db-shm": 0o600}


def test_locked_log_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    log = SqliteLog(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LogUnavailable, match="locked"):
        log.append([batch_of([b"a"])], received_at_ms=1)
    other.execute("ROLLBACK")

    assert log.append([batch_of([b"a"])], received_at_ms=1) == [1]


def test_meta_is_read_without_the_pages_of_the_events(path: Path) -> None:
    log = SqliteLog(path)
    for _ in range(20):
        log.append([batch_of([b"a" * 500_000])], received_at_ms=1)
    log.close()
    log = SqliteLog(path)
    missed = log._db.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]

    rows = log.read(0, max_events=100, max_bytes=100_000_000)

    assert len(rows) == 20
    assert log._db.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0] - missed < 25


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "3.50.7", "3.44.6", "4.0.0"])
def test_safe_sqlite_is_taken(version: str) -> None:
    sqlite.check_version(version)


@pytest.mark.parametrize("version", ["3.51.2", "3.50.6", "3.44.5", "3.45.9", "3.40.1"])
def test_unsafe_sqlite_is_refused(version: str) -> None:
    with pytest.raises(LogDamaged, match="install apsw"):
        sqlite.check_version(version)


def test_transaction_that_fails_changes_nothing(path: Path) -> None:
    log = SqliteLog(path)

    with pytest.raises(KeyError), sqlite.transaction(log._db):
        log._db.execute("UPDATE trimmed SET last = 9")
        raise KeyError

    assert log.head() == 0
