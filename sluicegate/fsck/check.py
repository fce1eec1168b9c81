"""The whole data directory: what is wrong with it, and, when that is wanted, set right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sluicegate.errors import LogError
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.bell import rung
from sluicegate.fsck.databases import check_database, cursors, databases
from sluicegate.fsck.findings import Finding, Progress, draft_of, remove
from sluicegate.fsck.log import check_log
from sluicegate.fsck.mend import mend_database
from sluicegate.fsck.rebuild import rebuild_log, take_back
from sluicegate.fsck.starts import check_starts
from sluicegate.paths import DataDir
from sluicegate.sqlite import Schema, no_file


def check(data_dir: DataDir, *, repair: bool, progress: Progress) -> list[Finding]:
    """Check every file of a stopped system, and with `repair` mend what can be; empty when nothing is wrong.

    Raises `LogTooNew` before anything is changed, `LogUnavailable` when there is no space to repair the log.
    """
    if repair:
        take_back(data_dir.event_log)
        for path, _ in databases(data_dir):
            remove(draft_of(path))  # of a repair that was killed
    last_rung = rung(data_dir.bell)
    read_up_to = cursors(data_dir, rung=last_rung)
    due_head = max([last_rung, *read_up_to])
    passed = min(read_up_to, default=0)
    found = check_log(data_dir, due_head=due_head, progress=progress, passed=passed)
    others = [(path, schema, check_database(path, schema, data_dir)) for path, schema in databases(data_dir)]
    if repair:
        others = [(path, schema, _mended(path, schema, faults)) for path, schema, faults in others]
        if found and data_dir.event_log.exists() and no_file(data_dir.event_log) is None:
            found = _rebuilt(data_dir, found, passed, due_head, progress)
    if data_dir.event_log.exists() and not data_dir.control.exists():
        found = [*found, Finding(data_dir.control.name, "is missing; restore it from a backup")]
    starts = check_starts(data_dir, seen=due_head, repair=repair)
    return [*found, *(one for _, _, faults in others for one in faults), *starts]


def _mended(path: Path, schema: Schema, faults: list[Finding]) -> list[Finding]:
    if not faults:
        return faults
    try:
        old, done = mend_database(path, schema)
    except LogError as error:
        return [*faults, Finding(faults[0].file, f"not repaired: {error}")]
    return [replace(one, repaired=f"{done}; the old file is {old.name}") for one in faults]


def _rebuilt(
    data_dir: DataDir, found: list[Finding], passed: Offset, due_head: Offset, progress: Progress
) -> list[Finding]:
    """The findings as they are after a repair: the stretches that are lost are known exactly then."""
    old, lost = rebuild_log(data_dir, passed=passed, due_head=due_head, progress=progress)
    done = f"built again from what can be read; the old file is {old.name}"
    name = data_dir.event_log.name
    whole = [replace(one, repaired=done) for one in found if one.first is None]
    stretches = [Finding(name, _why(found, first), first, last, "in quarantine") for first, last in lost]
    return [*(whole or [Finding(name, "has damaged events", repaired=done)]), *stretches]


def _why(found: list[Finding], offset: Offset) -> str:
    for one in found:
        if one.first is not None and one.last is not None and one.first <= offset <= one.last:
            return one.what
    return "cannot be read"
