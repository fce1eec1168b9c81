"""A text file that is only ever appended to, whole lines at a time, and survives crashes, full disks and rotation."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

TAIL_BYTES = 64 * 1024
MAX_TAIL_BYTES = 64 * 1024 * 1024
"""How much of a file is read to find where its last line begins."""


class AppendFile:
    """Lines appended to a file; one thread at a time, any number of processes.

    A line that a crash cut short is removed before the next append: it was never acknowledged, so it comes again.
    A file that was moved or removed (rotation) is opened anew. Raises `OSError`; then nothing was appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def open(self) -> None:
        """Open the file for appending and repair its end; makes missing folders."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            _repair_end(fd)
        except BaseException:
            os.close(fd)
            raise
        fcntl.flock(fd, fcntl.LOCK_UN)
        self._fd = fd

    def append(self, lines: bytes) -> None:
        """Append complete lines; when it returns they are on disk."""
        if self._fd is None or self._moved(self._fd):
            self.close()
            self.open()
        assert self._fd is not None
        try:
            self._append(self._fd, lines)
        except OSError:
            # After a failed fsync the kernel may have dropped the pages: only a new look at the file helps.
            self.close()
            raise

    def close(self) -> None:
        """Release the file; `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, fd: int, lines: bytes) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            _repair_end(fd)  # another process may have died in its write
            size = os.fstat(fd).st_size
            try:
                _write_all(fd, lines)
                os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _moved(self, fd: int) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return True
        here = os.fstat(fd)
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _repair_end(fd: int) -> None:
    """End the file with a line end: complete a last line that is whole JSON, remove one that is torn."""
    size = os.fstat(fd).st_size
    if not size or os.pread(fd, 1, size - 1) == b"\n":
        return
    start, tail = _tail(fd, size)
    torn_at = tail.rfind(b"\n") + 1
    try:
        msgspec.json.decode(tail[torn_at:])
    except msgspec.DecodeError:
        if torn_at or start == 0:
            os.ftruncate(fd, start + torn_at)
            return
    os.write(fd, b"\n")


def _tail(fd: int, size: int) -> tuple[int, bytes]:
    """The end of a file with the begin of its last line, if that is not too far away; and where that end begins."""
    n_bytes = TAIL_BYTES
    while True:
        start = max(0, size - n_bytes)
        tail = os.pread(fd, size - start, start)
        if start == 0 or b"\n" in tail or n_bytes >= MAX_TAIL_BYTES:
            return start, tail
        n_bytes *= 8
