"""Whether the disk has room for more events: looked at once a second, and oftener when there is little left to take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sluicegate.config.model import LogConfig

LOOK_EVERY_S = 1.0


class FreeSpace:
    """The space on the file system of a data directory; for one thread.

    Cursors, dead letters and destinations that write files need room too: events are refused while some is left.
    """

    def __init__(
        self, folder: Path, config: LogConfig, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    ) -> None:
        self._folder = folder
        self._min_bytes = config.min_free_bytes
        self._min_percent = config.min_free_percent
        self._statvfs = statvfs
        self._looked_at = float("-inf")
        self._problem: str | None = None
        self._taken_bytes = 0
        self._allowance_bytes = 0
        self.free_bytes = 0
        """As last seen: what a process without privileges may still write."""

    def problem(self, now: float) -> str | None:
        """Why no events can be taken, None when they can; `now` is monotonic."""
        if now >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = now
            self._look()
        return self._problem

    def taking(self, n_bytes: int) -> str | None:
        """Why events of this size cannot be taken, None when they can."""
        self._taken_bytes += n_bytes
        if self._taken_bytes > self._allowance_bytes:
            self._look()
        return self._problem

    def _look(self) -> None:
        self._taken_bytes = self._allowance_bytes = 0
        try:
            found = self._statvfs(self._folder)
        except OSError as error:
            self._problem = f"the free space of {self._folder} is unknown: {error.strerror}"
            return
        self.free_bytes = found.f_bavail * found.f_frsize
        wanted = max(self._min_bytes, found.f_blocks * found.f_frsize * self._min_percent // 100)
        # The WAL, the database and destinations that write files may each take what the events do.
        self._allowance_bytes = max(0, self.free_bytes - wanted) // 4
        self._problem = None
        if self.free_bytes < wanted:
            self._problem = (
                f"the disk of {self._folder} has {self.free_bytes // 2**20} MiB free, less than {wanted // 2**20} MiB; "
                "make room, or lower log.min_free and log.min_free_percent"
            )
