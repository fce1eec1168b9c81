"""The bell: one file that every append touches and every reader of the log watches.

A missed ring costs latency only: every reader also looks at the log from time to time.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import time
from pathlib import Path

from google_crc32c import value as crc32c

logger = logging.getLogger(__name__)

FALLBACK_POLL_S = 0.05
_DIGITS = 20

_IN_MODIFY = 0x2  # linux/inotify.h; the flags of inotify_init1 are those of open(2)
_libc = ctypes.CDLL(None, use_errno=True)


class Bell:
    """The side that rings; for any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self._fd = _open(path, os.O_WRONLY)

    def ring(self, head: int = 0) -> None:
        """Wake every `BellWatch` of this file; about 2 us. `head` is the newest offset that is on disk, for `rung`."""
        os.pwrite(self._fd, _line(head), 0)

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)


def rung(path: Path) -> int:
    """An offset that was on disk when the bell was last rung, 0 when that is not known or the file is damaged.

    Never more than what was acknowledged: the file is written after the commit, and is not synced.
    """
    try:
        line = path.read_bytes()
        head = int(line[:_DIGITS])
    except (OSError, ValueError):
        return 0
    return head if line == _line(head) else 0


def _line(head: int) -> bytes:
    """The file: the offset and its CRC-32C, or a changed digit would tell of a log with ten times as many events."""
    digits = b"%0*d" % (_DIGITS, head)
    return b"%b %08x\n" % (digits, crc32c(digits))


class BellWatch:
    """The side that listens: rings are remembered from its making on, several as one."""

    def __init__(self, path: Path) -> None:
        os.close(_open(path, os.O_WRONLY))
        self._path = path
        self._fd = _inotify(path)
        self._seen = self._touched_ns()
        self._poll = select.poll()
        if self._fd is not None:
            self._poll.register(self._fd, select.POLLIN)

    def fileno(self) -> int | None:
        """A descriptor that is readable when the bell has rung; None where the kernel has no watch to give."""
        return self._fd

    def clear(self) -> bool:
        """Forget the rings so far; say whether there were any."""
        if self._fd is None:
            before, self._seen = self._seen, self._touched_ns()
            return self._seen != before
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def head(self) -> int:
        """How far the log went when the bell was last rung; see `rung`."""
        return rung(self._path)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the bell has rung, and clear it; False when it has not rung in time."""
        if self._fd is None:
            return self._wait_by_looking(timeout_s)
        self._poll.poll(max(0, timeout_s) * 1000)
        return self.clear()

    def close(self) -> None:
        """Release the watch."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _wait_by_looking(self, timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not self.clear():
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(FALLBACK_POLL_S, left_s))
        return True

    def _touched_ns(self) -> int:
        return os.stat(self._path).st_mtime_ns


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _inotify(path: Path) -> int | None:
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd >= 0 and _libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY) >= 0:
        return fd
    reason = os.strerror(ctypes.get_errno())
    if fd >= 0:
        os.close(fd)
    logger.warning("no inotify watch for %s (%s); looking every %d ms instead", path, reason, FALLBACK_POLL_S * 1000)
    return None
