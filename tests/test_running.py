from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.delivery.presence import is_present
from sluicegate.errors import NotRunning
from sluicegate.lock import AlreadyRunning, DataDirLock, holder
from sluicegate.paths import DataDir
from sluicegate.running import find_running
from sluicegate.scripts.admin import main

CHECKING = """if True:
    import sys
    from pathlib import Path
    from sluicegate.paths import DataDir
    from sluicegate.scripts.fsck import _held
    with _held(DataDir(Path(sys.argv[1]))):
        print("checking", flush=True)
        sys.stdin.read()
    """


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    where = DataDir(tmp_path / "data")
    where.create()
    return where


@pytest.fixture
def checked(where: DataDir) -> Iterator[subprocess.Popen[bytes]]:
    """A data directory that `fsck` is at work on."""
    command = [sys.executable, "-c", CHECKING, str(where.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"checking\n"
        yield process
        process.kill()


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
    with pytest.raises(NotRunning, match=r"cannot be looked at: .*; run as the user whose system it is"):
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


def test_stop_does_not_end_a_check_of_the_files(where: DataDir, checked: subprocess.Popen[bytes]) -> None:
    told = CliRunner().invoke(main, ["stop", "--timeout", "5", "--data-dir", str(where.root)])

    assert told.exit_code == 3, told.output
    assert f"`sluicegate fsck` (pid {checked.pid})" in told.stderr
    assert checked.poll() is None


def test_start_during_a_check_is_told_to_wait_for_it(where: DataDir, checked: subprocess.Popen[bytes]) -> None:
    lock = DataDirLock(where.lock)

    with pytest.raises(AlreadyRunning, match=r"`sluicegate fsck` .*; wait until it has ended"):
        lock.acquire(timeout_s=0)
    checked.kill()
    checked.wait()
    lock.acquire(timeout_s=5)

    assert where.lock.read_bytes() == b""
    lock.release()


@pytest.mark.parametrize("call", ["os.pidfd_open", "signal.pidfd_send_signal"])
def test_system_that_ends_while_it_is_to_be_stopped_is_stopped(
    where: DataDir, checked: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def gone(*arguments: int) -> int:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    where.lock.write_bytes(b"")  # the launcher's
    monkeypatch.setattr(call, gone)

    told = CliRunner().invoke(main, ["stop", "--data-dir", str(where.root)])

    assert (told.exit_code, told.stdout) == (0, "stopped\n"), told.stderr
