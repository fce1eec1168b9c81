"""A new log from what can be read of a damaged one: every event keeps its offset, so all cursors stay right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw

from sluicegate.errors import LogDamaged, LogUnavailable, RowDamaged
from sluicegate.event import decode_meta
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.packing import MAX_ROW_EVENTS
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.eventlog.rows import lost_row
from sluicegate.eventlog.salvage import Found, find_at, find_rows, payload_of
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.walfile import broken_frames, wal_frames
from sluicegate.fsck.databases import opened
from sluicegate.fsck.findings import Progress, aside, draft_of, put_back, remove
from sluicegate.pages import Pages
from sluicegate.paths import DataDir
from sluicegate.sqlite import connect, errors_of, fsync

NO_END = 2**62
COMMIT_BYTES = 32 * 1024 * 1024
_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

Columns = tuple[int | bytes, ...]


def rebuild_log(
    data_dir: DataDir, *, passed: Offset, due_head: Offset, progress: Progress
) -> tuple[Path, list[tuple[Offset, Offset]]]:
    """Put a log in the damaged one's place that has all that can be read, and knows which offsets are lost.

    All destinations have dealt with the events up to `passed`, so retention may have removed those, and no others; and
    there were events up to `due_head`. Returns where the old file is now and which stretches of offsets are lost; those
    are in the quarantine ledger then.
    """
    path = data_dir.event_log
    _require_space(path)
    forgotten = _forgotten(path)
    n_frames = len(wal_frames(path))
    broken = broken_frames(path, n_frames)
    draft = draft_of(path)
    remove(draft)
    try:
        with Pages.of_files(path, page_size=SCHEMA.page_size, n_frames=n_frames, broken=broken) as pages:
            places, last = _index(pages, forgotten, progress)
            if forgotten is None:
                forgotten = min([passed, *(first - 1 for first in places)])
            due_head = max(due_head, _end(path, last))
            rows = _rows(pages, places, progress)
            lost = _write(draft, rows, forgotten=forgotten, due_head=due_head)
    except BaseException:
        remove(draft)  # it may be as large as the log, and the disk full
        raise
    ledger = Quarantine(data_dir.root)
    for first, last in lost:
        ledger.record(first, last, why="could not be saved from the damaged log", found_by="fsck")
    return _swap(path, draft), lost


def _require_space(path: Path) -> None:
    wanted = path.stat().st_size * 11 // 10 + 16 * 1024 * 1024
    if shutil.disk_usage(path.parent).free < wanted:
        raise LogUnavailable(
            f"{path.parent}: a repair needs {wanted >> 20} MB of free space; free some, nothing changed"
        )


def _forgotten(path: Path) -> Offset | None:
    """What retention has removed, None when the damaged log does not tell."""
    try:
        log = SqliteLog(path, create=False, reader=None)
    except LogDamaged:
        return None
    try:
        return log.trimmed()
    except LogDamaged:  # not even its tables can be named
        return None
    finally:
        log.close()


def _index(pages: Pages, forgotten: Offset | None, progress: Progress) -> tuple[dict[Offset, list[int]], Offset]:
    """Where each row lies, in all its copies, the newest one last; and the last offset of them all."""
    places: dict[Offset, list[int]] = {}
    last = forgotten or 0
    done = 0

    def count(n_pages: int) -> None:
        nonlocal done
        done += n_pages
        progress("looking for events", done, pages.n_copies)

    for found in find_rows(pages, (forgotten or 0) + 1, NO_END, progress=count):
        places.setdefault(found.first, []).append(found.place)
        last = max(last, found.row.last)
    return places, last


def _end(path: Path, last: Offset) -> Offset:
    """Where the log ended: after the row up to `last` also damaged ones had offsets, as long as each fits on."""
    sql = "SELECT first, count, meta FROM rows WHERE first > ? ORDER BY first"
    try:
        with opened(path, SCHEMA) as db:
            for first, count, meta in db.execute(sql, (last,)):
                n_events = _n_events(count, meta)
                if first != last + 1 or not 0 < n_events <= MAX_ROW_EVENTS:
                    break
                last += n_events
    except LogDamaged:
        pass  # so far it could be read
    return last


def _n_events(count: object, meta: object) -> int:
    """How many events a damaged row had: when what its meta says is another number, the damage is not in the meta."""
    try:
        return len(decode_meta(meta).combo_of) if isinstance(meta, bytes) else 0
    except LogDamaged:
        return count if isinstance(count, int) else 0


def _rows(pages: Pages, places: dict[Offset, list[int]], progress: Progress) -> Iterator[Columns]:
    """The columns of every row that is whole, in order."""
    for done, first in enumerate(sorted(places)):
        for place in reversed(places[first]):
            columns = _columns(pages, first, place)
            if columns is not None:
                yield columns
                break
        if done % 100 == 0:
            progress("saving events", done, len(places))


def _columns(pages: Pages, first: Offset, place: int) -> Columns | None:
    for found in find_at(pages, first, place):
        try:
            payload = payload_of(pages, found)
        except RowDamaged:
            continue
        return _stored(found, payload)
    return None


def _stored(found: Found, payload: bytes) -> Columns:
    row = found.row
    numbers = (row.first, row.count, row.received_at_ms, row.n_bytes, found.seal, found.payload_crc)
    return (*numbers, found.meta, payload)


def _write(draft: Path, rows: Iterable[Columns], *, forgotten: Offset, due_head: Offset) -> list[tuple[Offset, Offset]]:
    """A new log with these rows, and rows that stand for lost events in every gap."""
    lost: list[tuple[Offset, Offset]] = []
    db = connect(draft, SCHEMA, synchronous="OFF")
    try:
        with errors_of(draft):
            db.execute("BEGIN")
            db.execute("UPDATE trimmed SET last = ?", (forgotten,))
            n_bytes = 0
            for columns in _without_gaps(rows, forgotten + 1, due_head, lost):
                db.execute(_INSERT, columns)
                n_bytes += len(columns[-1])  # type: ignore[arg-type]
                if n_bytes > COMMIT_BYTES:
                    db.execute("COMMIT")
                    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                    db.execute("BEGIN")
                    n_bytes = 0
            db.execute("COMMIT")
            db.pragma("synchronous", "FULL")
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.close()
    return lost


def _without_gaps(
    rows: Iterable[Columns], due: Offset, due_head: Offset, lost: list[tuple[Offset, Offset]]
) -> Iterator[Columns]:
    at_ms = 0
    for columns in rows:
        first, count, at_ms = (int(value) for value in columns[:3])
        if first < due:
            continue
        if first > due:
            lost.append((due, first - 1))
            yield lost_row(due, first - due, at_ms)
        yield columns
        due = first + count
    if due <= due_head:
        lost.append((due, due_head))
        yield lost_row(due, due_head + 1 - due, at_ms)


def replaced_by_nothing(path: Path) -> Path | None:
    """Where the log is when a repair was killed after it had put it aside, and before the new one was in its place."""
    if path.exists() or not draft_of(path).exists():
        return None
    found = [one for one in path.parent.glob(f"{path.name}.damaged-*") if not one.name.endswith(("-wal", "-shm"))]
    return max(found, default=None)


def take_back(path: Path) -> None:
    """Undo what such a repair has done: the log is whole again with its WAL, as damaged as it was."""
    old = replaced_by_nothing(path)
    if old is not None:
        put_back(path, old)


def _swap(path: Path, draft: Path) -> Path:
    """Give the new file the name; the old one and its WAL get one with a date. Returns that."""
    old = aside(path)
    fsync(draft)
    os.rename(path, old)  # first: without its WAL it must not be taken for the log, nor the WAL for that of the new one
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        os.rename(wal, old.with_name(old.name + "-wal"))
    remove(path, ("-wal", "-shm"))
    os.rename(draft, path)
    fsync(path.parent)
    return old
