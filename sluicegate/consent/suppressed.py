"""How many events of suppressed people were left out: two numbers in a file, so that every process can tell.

Each is written by one process, in memory that it shares with the file, which outlives the process but not a power cut.
Nothing is kept of who they were of.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

WAYS = ("http", "actor")
"""The ways in, in the order of their numbers; each has one process."""
_WIDTH = 8
_SIZE = _WIDTH * len(WAYS)


class SuppressedCount:
    """The number of one way in; the file is made when there is something to count. For one thread.

    Events are left out also while there can be no file, on a full disk for example: they are counted later.
    """

    def __init__(self, path: Path, way: str) -> None:
        self._path = path
        self._place = WAYS.index(way)
        self._numbers: memoryview | None = None
        self._n_kept = 0
        """What could not be written yet."""

    def add(self, n_events: int) -> None:
        """Count events; while the file cannot be made they are kept for the next time."""
        self._n_kept += n_events
        if self._numbers is None:
            try:
                self._numbers = _mapped(self._path)
            except OSError as error:
                if self._n_kept == n_events:  # the first of them
                    log.warning("events of suppressed people are left out, but cannot be counted yet: %s", error)
                return
        self._numbers[self._place] += self._n_kept
        self._n_kept = 0


def read_suppressed(path: Path) -> Mapping[str, int]:
    """How many events were left out since there is this data directory, by the way in."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    numbers = memoryview(data.ljust(_SIZE, b"\0")[:_SIZE]).cast("Q")
    return dict(zip(WAYS, numbers, strict=True))


def _mapped(path: Path) -> memoryview:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, _SIZE)  # writing to a page that has no room on the disk would end the process
        return memoryview(mmap.mmap(fd, _SIZE)).cast("Q")
    finally:
        os.close(fd)
