"""Before a log is written to: whether its end is what was acknowledged. Takes milliseconds, whatever the log's size.

Damage in the middle of the log stops nobody: readers go around it. Damage at its end would give new events the offsets
of old ones, so a log with that is not opened for writing.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from sluicegate.errors import LogDamaged, RowDamaged
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.rows import check_seal
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.walfile import Frame, wal_frames
from sluicegate.sqlite import connect, errors_of, fetch

_LAST = "SELECT first, count, received_at_ms, n_bytes, seal, meta FROM rows ORDER BY first DESC LIMIT 1"
_TRIMMED = "SELECT last FROM trimmed"


def check_end(path: Path, *, acknowledged: Offset) -> None:
    """Raise `LogDamaged` when the log at `path` has lost its end; `acknowledged` is an offset that it must have.

    Nothing else may have the log open. Changes nothing, so that what is left can still be saved.
    """
    frames = wal_frames(path)
    db = connect(path, SCHEMA, create=False)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        with errors_of(path):
            n_valid, _ = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            n_pages, page_size = db.pragma("page_count"), db.pragma("page_size")
            last_rows, trimmed = fetch(db, _LAST), fetch(db, _TRIMMED)
    finally:
        db.close()
    _check_wal(path, frames[max(0, n_valid) :])
    _check_size(path, n_pages, page_size, {page for page, _, _ in frames[: max(0, n_valid)]})
    head: Offset = trimmed[0][0] if trimmed else 0
    if last_rows:
        try:
            check_seal(*last_rows[0])
        except RowDamaged as error:
            raise LogDamaged(f"{path}: its last row is damaged: {error}; {_remedy(path)}") from None
        head = last_rows[0][0] + last_rows[0][1] - 1
    if not isinstance(head, int):
        raise LogDamaged(f"{path}: is damaged: it does not tell where it ends; {_remedy(path)}")
    if head < acknowledged:
        raise LogDamaged(f"{path}: ends at event {head}, but {acknowledged} were stored; {_remedy(path)}")


def _check_wal(path: Path, beyond: list[Frame]) -> None:
    # A crash leaves at most one transaction behind that SQLite does not take: the next one begins after an fsync.
    if sum(commits for _, commits, _ in beyond) > 1:
        raise LogDamaged(f"{path}-wal: is damaged, {len(beyond)} pages after the damage would be lost; {_remedy(path)}")


def _check_size(path: Path, n_pages: int, page_size: int, in_wal: set[int]) -> None:
    n_there = os.stat(path).st_size // page_size
    missing = sum(page not in in_wal for page in range(n_there + 1, n_pages + 1))
    if missing:
        raise LogDamaged(f"{path}: is cut off, {missing} of its {n_pages} pages are missing; {_remedy(path)}")


def _remedy(path: Path) -> str:
    return f"save what can be read with `sluicegate fsck --repair --data-dir {path.parent}`, or restore a backup"
