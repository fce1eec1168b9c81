"""Is the event log what was stored?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sluicegate.errors import LogDamaged, LogTooNew, RowDamaged
from sluicegate.eventlog.base import Offset, Row, RowGone
from sluicegate.eventlog.rows import LOST
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from sluicegate.fsck.findings import Finding, Progress
from sluicegate.fsck.rebuild import replaced_by_nothing
from sluicegate.paths import DataDir
from sluicegate.sqlite import require_files

READ_EVENTS = 20_000
READ_BYTES = 64 * 1024 * 1024


def check_log(data_dir: DataDir, *, due_head: Offset, progress: Progress, passed: Offset = 0) -> list[Finding]:
    """Everything that is wrong with the log; `due_head` is the newest offset that others have seen.

    All destinations have dealt with the events up to `passed`: those may have been removed by retention when the log
    itself does not tell. Reads all of it and changes nothing. Raises `LogTooNew`.
    """
    path = data_dir.event_log
    if not path.exists():
        return _missing(path, due_head)
    findings: list[Finding] = []
    try:
        require_files(path)
        check_end(path, acknowledged=0)
    except LogTooNew:
        raise
    except LogDamaged as error:
        findings.append(Finding(path.name, str(error)))
    try:
        log = SqliteLog(path, create=False, reader=None)
    except LogDamaged as error:
        return findings or [Finding(path.name, str(error))]
    try:
        findings += _check_open(log, path.name, due_head, progress, passed=passed)
    except LogTooNew:
        raise
    except LogDamaged as error:
        findings.append(Finding(path.name, str(error)))
    finally:
        log.close()
    return findings


def _missing(path: Path, due_head: Offset) -> list[Finding]:
    if (old := replaced_by_nothing(path)) is not None:
        return [Finding(path.name, f"is missing: a repair was broken off when it had made {old.name} of it")]
    return [Finding(path.name, "is missing; restore it from a backup", 1, due_head)] if due_head else []


def _check_open(
    log: SqliteLog, name: str, due_head: Offset, progress: Progress, *, passed: Offset
) -> Iterator[Finding]:
    head = log.head()
    progress("checking the event log's pages", 0, 0)
    for fault in log.faults():
        yield Finding(name, fault)
    trimmed = log.trimmed()
    if trimmed is None:
        yield Finding(name, "does not tell which events retention has removed")
    after = tail = passed if trimmed is None else trimmed
    while rows := log.read(after, max_events=READ_EVENTS, max_bytes=READ_BYTES):
        for row in rows:
            if (why := _damage(log, row)) is not None:
                yield Finding(name, why, max(row.first, after + 1), row.last)
            after = row.last
        progress("checking events", after - tail, head - tail)
    if due_head > head:
        yield Finding(name, f"ends at event {head}, but others have seen up to {due_head}", head + 1, due_head)


def _damage(log: SqliteLog, row: Row) -> str | None:
    if row.damage == LOST:
        return None  # a repair has dealt with it
    try:
        log.payload(row)
    except RowDamaged as error:
        return row.damage or str(error)
    except RowGone:
        return "it cannot be found"
    return None
