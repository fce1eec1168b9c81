"""The withdrawal barrier: whoever writes a denial can wait until every decision that did not see it has gone out.

Each delivery worker has a small file in the folder of the stores, mapped into memory, with one number: odd while it
decides and until the calls that it decided on have been entered, else even. A decision begins by looking into the
ledger after the number became odd. So who commits a denial, and then sees a number that is even or another one than
before, knows that every later call was decided with it. The worker holds a lock on the file, which ends with its
process however that ends; what a dead process has left is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_SUFFIX = ".deciding"
_SIZE = 8
LOOK_EVERY_S = 0.0005
TIMEOUT_S = 2.0
"""A decision takes well under a millisecond; one that lasts longer belongs to a process that is stopped."""


class Deciding:
    """The worker's side; `begin` and `close` belong to its thread, `done` to any."""

    def __init__(self, folder: Path, name: str) -> None:
        for path in _files(folder, name):
            _is_dead(path)
        self._path = folder / f"{name}.{os.getpid()}{_SUFFIX}"
        self._fd = _own(self._path)
        self._memory = memoryview(mmap.mmap(self._fd, _SIZE)).cast("Q")
        self._lock = Lock()
        self._number = self._n_open = 0

    def begin(self) -> None:
        """A decision begins; it ends when `done` was called once for it and once for each call that it led to."""
        with self._lock:
            self._n_open += 1
            self._note()

    def add(self, n_calls: int) -> None:
        """It has led to so many calls."""
        with self._lock:
            self._n_open += n_calls

    def done(self) -> None:
        """The decision has been taken, or a call has been entered."""
        with self._lock:
            self._n_open -= 1
            self._note()

    def close(self) -> None:
        """There are no decisions any more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._fd)

    def _note(self) -> None:
        if (self._number & 1) != (self._n_open > 0):
            self._number += 1
            self._memory[0] = self._number


@dataclass(frozen=True, slots=True)
class Seen:
    """The destinations that were loaded, and those of them that have not confirmed in time."""

    loaded: Sequence[str]
    late: Sequence[str]


def wait_until_seen(folder: Path, *, timeout_s: float = TIMEOUT_S) -> Seen:
    """Wait until no call is still to be entered that was decided before now."""
    waiting = {path: number for path in _files(folder) if (number := _read(path)) is not None}
    loaded = sorted({_name(path) for path in waiting})
    waiting = {path: number for path, number in waiting.items() if number & 1}
    deadline = time.monotonic() + timeout_s
    while waiting and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        waiting = {path: number for path, number in waiting.items() if _read(path) == number}
    return Seen(loaded, sorted({_name(path) for path in waiting if not _is_dead(path)}))


def _own(path: Path) -> int:
    """The file, empty and locked; one that was taken for a dead process's before it was locked is made anew."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(fd).st_ino:
                return _emptied(fd)
        os.close(fd)


def _emptied(fd: int) -> int:
    """With a number that is zero, and that has its place on the disk: without one writing it would be SIGBUS."""
    try:
        os.ftruncate(fd, 0)
        os.posix_fallocate(fd, 0, _SIZE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _files(folder: Path, name: str = "*") -> list[Path]:
    return sorted(folder.glob(f"{name}.*{_SUFFIX}"))


def _name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX).rpartition(".")[0]


def _read(path: Path) -> int | None:
    """The number of a live worker, None when there is none any more."""
    if _is_dead(path):
        return None
    try:
        return int.from_bytes(path.read_bytes(), "little")
    except FileNotFoundError:
        return None


def _is_dead(path: Path) -> bool:
    """Whether nobody holds this file any more; then it is removed."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
