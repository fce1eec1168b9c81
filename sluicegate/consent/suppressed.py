"""How many events of suppressed people were left out: two numbers in a file, so that every process can tell.

Each is written by one process, in memory that it shares with the file, which outlives the process but not a power cut.
Nothing is kept of who they were of.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

WAYS = ("http", "actor")
"""The ways in, in the order of their numbers; each has one process."""
_WIDTH = 8
_SIZE = _WIDTH * len(WAYS)


class SuppressedCount:
    """The number of one way in; the file is made when there is something to count. For one thread."""

    def __init__(self, path: Path, way: str) -> None:
        self._path = path
        self._place = WAYS.index(way)
        self._numbers: memoryview | None = None

    def add(self, n_events: int) -> None:
        """Count events."""
        if self._numbers is None:
            self._numbers = _mapped(self._path)
        self._numbers[self._place] += n_events


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
        if os.fstat(fd).st_size < _SIZE:
            os.ftruncate(fd, _SIZE)
        return memoryview(mmap.mmap(fd, _SIZE)).cast("Q")
    finally:
        os.close(fd)
