"""When what was appended moves from the WAL into the database: between appends if there is time, else by a commit."""

from __future__ import annotations

import logging
from pathlib import Path

import apsw

from sluicegate import failpoints
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.sqlite import BUSY_TIMEOUT_MS, errors_of

logger = logging.getLogger(__name__)

CHECKPOINT_PAGES = 1_000
"""Pages in the WAL after which `maintain` moves them to the database: 8 MB, written to once per checkpoint."""

AUTO_CHECKPOINT_PAGES = 2_000
"""The same for a log that is never idle; the commit that reaches it pays for it."""

WAL_MAX_PAGES = 8_000
"""When readers that overlap have kept the WAL from being used again until 64 MB, a checkpoint waits for them."""

CHECKPOINT_WAIT_MS = 100

WAL_KEEP_BYTES = 32 * 1024 * 1024
"""What of the WAL stays allocated after a checkpoint: overwriting is cheaper than growing."""


class Checkpoints:
    """The checkpoints of one connection to the log at `path`, in place of SQLite's own.

    `wal_pages` is how long the WAL was after the connection's last commit, `mark` the length at which to move it.
    """

    def __init__(self, db: apsw.Connection, path: Path) -> None:
        self.damage: LogDamaged | None = None
        """Why nothing may be written any more."""
        self.wal_pages = 0
        self.mark = CHECKPOINT_PAGES
        self._db = db
        self._path = path
        with errors_of(path):
            db.pragma("journal_size_limit", WAL_KEEP_BYTES)
        db.set_wal_hook(self._on_commit)

    def move(self) -> None:
        """Move what is in the WAL to the database as far as readers let it; raises `LogDamaged` when the disk fails."""
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE if self.wal_pages < WAL_MAX_PAGES else apsw.SQLITE_CHECKPOINT_TRUNCATE
        self.mark = self.wal_pages + CHECKPOINT_PAGES  # unless the WAL begins anew
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_CHECKPOINT)
        try:
            with errors_of(self._path):
                # The second kind waits for readers, and others' appends wait for it.
                self._db.set_busy_timeout(CHECKPOINT_WAIT_MS)
                self._db.wal_checkpoint(mode=mode)
        except LogUnavailable as error:
            elsewhere = isinstance(error.__cause__, apsw.BusyError)  # another process or thread is at it
            level = logging.DEBUG if elsewhere else logging.WARNING
            logger.log(level, "the event log's WAL could not be moved to the database: %s", error)
        finally:
            self._db.set_busy_timeout(BUSY_TIMEOUT_MS)

    def distrust(self, error: LogDamaged) -> None:
        """Never write again, and do not sync at the end either: it could only seem to work."""
        self.damage = error
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)

    def _on_commit(self, db: apsw.Connection, name: str, n_pages: int) -> int:
        if n_pages <= self.wal_pages:  # it begins anew; otherwise every commit makes it longer
            self.mark = CHECKPOINT_PAGES
        self.wal_pages = n_pages
        if n_pages >= AUTO_CHECKPOINT_PAGES and n_pages >= self.mark:
            try:
                self.move()
            except LogDamaged as error:  # this commit is on disk; the next one must not be tried
                self.distrust(error)
        return apsw.SQLITE_OK
