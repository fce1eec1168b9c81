from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from sluicegate.delivery.presence import is_present
from sluicegate.errors import NotRunning
from sluicegate.lock import DataDirLock, holder
from sluicegate.paths import DataDir
from sluicegate.running import find_running


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    where = DataDir(tmp_path / "data")
    where.create()
    return where


def test_nothing_runs_where_nobody_holds_the_lock(where: DataDir) -> None:
    assert holder(where.lock) is None
    assert holder(where.root / "a-file" / "serve.lock") is None
    with pytest.raises(NotRunning, match="start it with `sluicegate serve"):
        find_running(where)


def test_lock_that_cannot_be_opened_is_not_taken_for_free(where: DataDir) -> None:
    where.lock.mkdir()  # which not even root can open for writing
    where.presence("crm").mkdir()

    with pytest.raises(OSError, match="directory"):
        holder(where.lock)
    with pytest.raises(NotRunning, match="cannot be looked at: .*; run as the user whose system it is"):
        find_running(where)
    assert is_present(where.presence("crm"))


def test_file_system_without_locks_is_not_taken_for_a_running_system(
    where: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, command: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    lock = DataDirLock(where.lock)

    with pytest.raises(OSError, match="No locks available"):
        lock.acquire(timeout_s=5)
    lock.release()
