"""Whether a destination's store has been written to, without opening it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

SETTLED_NS = 50_000_000
"""Written less than this ago, a file may be written again without its time changing (ticks of 1 to 10 ms)."""


class FileVersion(NamedTuple):
    """Time of last change (Unix ns) and size of a file."""

    changed_ns: int
    n_bytes: int


class StoreVersion(NamedTuple):
    """The versions of a store's two files, None for one that is not there; equal while nothing was written."""

    main: FileVersion | None
    wal: FileVersion | None

    def settled(self, now_ns: int) -> bool:
        """Whether a change from now on (Unix ns) would show."""
        return all(file is None or file.changed_ns < now_ns - SETTLED_NS for file in self)


def store_version(path: Path) -> StoreVersion:
    """The version of the store at `path`; two calls of the system, some microseconds."""
    return StoreVersion(_file_version(str(path)), _file_version(f"{path}-wal"))


def _file_version(path: str) -> FileVersion | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return FileVersion(found.st_mtime_ns, found.st_size)
