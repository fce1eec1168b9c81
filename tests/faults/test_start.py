from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from sluicegate.config import Config, load
from sluicegate.errors import LogDamaged, LogTooNew, SluicegateError
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.pages import FRAME_HEADER_BYTES, WAL_HEADER_BYTES
from sluicegate.paths import DataDir
from sluicegate.scripts.storage import DirectoryRefused, prepare_directory, prepare_storage
from tests.faults.flipping import build, flip, read_everything

CONFIG = """
[gateway]
listen = "127.0.0.1:0"
write_keys = { web = "a-write-key" }
[destinations.archive]
type = "null"
requires = ["necessary"]
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    prepare_directory(data_dir)
    return data_dir


@pytest.fixture
def config(tmp_path: Path, data_dir: DataDir) -> Config:
    path = tmp_path / "sluicegate.toml"
    path.write_text(CONFIG)
    return load(path, environ={}, data_dir=data_dir.root)


def fill(config: Config, data_dir: DataDir, n_events: int = 60, *, checkpoint: bool = True) -> None:
    """A data directory as a system leaves it that was killed after so many events."""
    prepare_storage(config, data_dir)
    build(data_dir.event_log, n_events, checkpoint=checkpoint)
    bell = Bell(data_dir.bell)
    bell.ring(n_events)
    bell.close()


def killed(data_dir: DataDir, target: Path) -> DataDir:
    """A copy of the directory, as a killed process leaves it."""
    shutil.copytree(data_dir.root, target)
    return DataDir(target)


def test_whole_log_starts(config: Config, data_dir: DataDir) -> None:
    fill(config, data_dir)

    prepare_storage(config, data_dir)


def test_killed_log_starts_with_its_wal(config: Config, data_dir: DataDir, tmp_path: Path) -> None:
    fill(config, data_dir, checkpoint=False)

    after = killed(data_dir, tmp_path / "after")
    prepare_storage(config, after)

    assert len(read_everything(SqliteLog(after.event_log)).intact) == 60


def test_deleted_shm_simply_works(config: Config, data_dir: DataDir, tmp_path: Path) -> None:
    fill(config, data_dir, checkpoint=False)
    after = killed(data_dir, tmp_path / "after")
    after.event_log.with_name("events.db-shm").unlink()

    prepare_storage(config, after)

    assert len(read_everything(SqliteLog(after.event_log)).intact) == 60


def test_missing_log_is_refused_although_the_control_database_is_gone_too(config: Config, data_dir: DataDir) -> None:
    fill(config, data_dir)
    data_dir.event_log.unlink()
    data_dir.control.unlink()

    with pytest.raises(LogDamaged, match=r"events\.db: is missing, but bell shows"):
        prepare_storage(config, data_dir)

    assert not data_dir.event_log.exists()


def test_missing_log_is_refused_when_a_destination_has_a_store(config: Config, data_dir: DataDir) -> None:
    (data_dir.stores / "archive.db").touch()

    with pytest.raises(LogDamaged, match=r"destinations/archive\.db shows that there was one"):
        prepare_storage(config, data_dir)


def test_truncated_database_is_refused_wherever_it_was_cut(config: Config, data_dir: DataDir, tmp_path: Path) -> None:
    fill(config, data_dir)
    size = data_dir.event_log.stat().st_size

    for cut in range(0, size, size // 20):
        after = killed(data_dir, tmp_path / f"cut-{cut}")
        os.truncate(after.event_log, cut)

        with pytest.raises(LogDamaged, match=r"fsck --repair|backup"):
            prepare_storage(config, after)


def test_truncated_wal_that_lost_acknowledged_events_is_refused(
    config: Config, data_dir: DataDir, tmp_path: Path
) -> None:
    fill(config, data_dir, checkpoint=False)
    size = data_dir.event_log.with_name("events.db-wal").stat().st_size

    for cut in range(0, size, size // 20):
        after = killed(data_dir, tmp_path / f"cut-{cut}")
        os.truncate(after.event_log.with_name("events.db-wal"), cut)

        with pytest.raises(LogDamaged, match="but 60 were stored"):
            prepare_storage(config, after)


def test_torn_end_of_the_wal_that_nobody_was_told_of_is_dropped(
    config: Config, data_dir: DataDir, tmp_path: Path
) -> None:
    fill(config, data_dir, checkpoint=False)
    Bell(data_dir.bell).ring(20)
    after = killed(data_dir, tmp_path / "after")
    wal = after.event_log.with_name("events.db-wal")
    os.truncate(wal, wal.stat().st_size - 9_000)

    prepare_storage(config, after)

    outcome = read_everything(SqliteLog(after.event_log))
    assert 20 <= len(outcome.intact) < 60
    assert not outcome.damaged


@pytest.mark.parametrize("where", ["header", "frame", "salt", "data"])
def test_changed_bit_in_the_wal_is_noticed_before_anything_is_lost(
    config: Config, data_dir: DataDir, tmp_path: Path, where: str
) -> None:
    fill(config, data_dir, checkpoint=False)
    Bell(data_dir.bell).ring(0)  # so that the WAL alone must tell
    after = killed(data_dir, tmp_path / "after")
    wal = after.event_log.with_name("events.db-wal")
    frame = WAL_HEADER_BYTES + 5 * (FRAME_HEADER_BYTES + SCHEMA.page_size)
    flip(wal, {"header": 17, "frame": frame + 2, "salt": frame + 9, "data": frame + 4_000}[where], 3)
    before = wal.read_bytes()

    with pytest.raises(LogDamaged, match="wal: is damaged"):
        prepare_storage(config, after)

    assert wal.read_bytes() == before


def test_damaged_last_row_is_refused_and_damage_before_it_is_not(
    config: Config, data_dir: DataDir, tmp_path: Path
) -> None:
    fill(config, data_dir)
    data = data_dir.event_log.read_bytes()

    for offset, refused in ((60, True), (20, False)):
        after = killed(data_dir, tmp_path / f"after-{offset}")
        log = SqliteLog(after.event_log)
        row = log.read(offset - 1, max_events=1, max_bytes=1)[0]
        log._db.execute("UPDATE rows SET seal = seal + 1 WHERE first = ?", (row.first,))
        log.close()

        if refused:
            with pytest.raises(LogDamaged, match="last row is damaged"):
                prepare_storage(config, after)
        else:
            prepare_storage(config, after)
    assert data_dir.event_log.read_bytes() == data


def test_log_that_was_replaced_by_an_older_one_is_refused(config: Config, data_dir: DataDir) -> None:
    fill(config, data_dir)
    Bell(data_dir.bell).ring(61)

    with pytest.raises(LogDamaged, match="ends at event 60, but 61 were stored"):
        prepare_storage(config, data_dir)


def test_newer_log_is_refused_and_left_alone(config: Config, data_dir: DataDir) -> None:
    fill(config, data_dir)
    db = apsw.Connection(str(data_dir.event_log))
    db.pragma("user_version", SCHEMA.version + 1)
    db.close()
    before = data_dir.event_log.read_bytes()

    with pytest.raises(LogTooNew, match="upgrade Sluicegate"):
        prepare_storage(config, data_dir)

    assert data_dir.event_log.read_bytes() == before


def test_unsafe_sqlite_is_refused(config: Config, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")

    with pytest.raises(LogDamaged, match=r"install apsw 3\.51\.3"):
        prepare_storage(config, data_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(data_dir: DataDir) -> None:
    os.chown(data_dir.root, 12_345, -1)

    with pytest.raises(DirectoryRefused, match="belongs to user 12345"):
        prepare_directory(data_dir)


def test_directory_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(DirectoryRefused, match="choose another"):
        prepare_directory(DataDir(Path("/proc/sluicegate")))


def test_directory_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SluicegateError, match="choose another"):
        prepare_directory(DataDir(tmp_path / "file" / "data"))


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs a mount of its own")
def test_directory_on_a_read_only_mount_is_refused(data_dir: DataDir) -> None:
    root = data_dir.root
    mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec"
    serve = f"{sys.executable} -m sluicegate.scripts.admin serve --data-dir {root}"
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} {serve}"], capture_output=True, text=True, cwd=root.parent, timeout=60
    )
    if "cannot be written to" not in result.stderr and ("unshare:" in result.stderr or "mount:" in result.stderr):
        pytest.skip(f"no mounts here: {result.stderr}")

    assert result.returncode == 1
    assert "cannot be written to: Read-only file system; mount it writable" in result.stderr
    assert "Traceback" not in result.stderr
