"""One launcher, or one check of its files, for one data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from pathlib import Path

from sluicegate.errors import SluicegateError
from sluicegate.owner import give_to_owner

_FLOCK = "hhqqi"  # struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid


class AlreadyRunning(SluicegateError):
    """Another launcher holds the data directory."""


class DataDirLock:
    """A POSIX record lock on a file: the kernel drops it with its process, and forked children do not inherit it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner(self._fd, path.parent)
        self._path = path

    def acquire(self, *, timeout_s: float, by: str = "") -> None:
        """Take the lock; raises `AlreadyRunning` when another process still holds it after the time-out.

        `by` is the command that takes it when that is not the launcher's; it is left in the file for others to read.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write(by)
                return
            except (BlockingIOError, PermissionError):  # the two ways to say that another process holds it
                if time.monotonic() >= deadline:
                    raise AlreadyRunning(self._in_use()) from None
                time.sleep(0.05)

    def _write(self, by: str) -> None:
        with contextlib.suppress(OSError):  # a full disk keeps nobody from checking or starting
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, by.encode(), 0)

    def _in_use(self) -> str:
        pid, by = holder(self._path), taken_by(self._path)
        if by:
            return f"{self._path.parent} is in use by `{by}` (pid {pid}); wait until it has ended"
        return (
            f"{self._path.parent} is in use by a running Sluicegate (pid {pid});"
            " stop it with `sluicegate stop`, or choose another data directory"
        )

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._fd)


def taken_by(path: Path) -> str:
    """The command that holds the lock, empty for the launcher; the holder itself must not ask."""
    return path.read_text(encoding="utf-8", errors="replace")


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock, None when nobody does; raises `OSError` when that cannot be told.

    Opening and closing the file would drop a lock that this same process holds, so the holder must not ask.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else int(pid)
