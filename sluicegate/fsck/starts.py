"""Where destinations begin: a registration after an event that never was would skip events, or count some twice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from sluicegate.accounts import read_state
from sluicegate.errors import LogError
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.schema import SCHEMA as LOG
from sluicegate.fsck.databases import STORE, looked_at
from sluicegate.fsck.findings import Finding
from sluicegate.paths import DataDir
from sluicegate.registry import SCHEMA as CONTROL
from sluicegate.sqlite import connect, errors_of, fetch, fetch_one, transaction

NO_START = -1
"""Of a registration whose start could not be read; `check_starts` finds it one."""

_IMPOSSIBLE = """
    SELECT id, start, registered_at_ms FROM destinations WHERE start NOT BETWEEN 0 AND ? ORDER BY id
"""
_HEAD = "SELECT coalesce((SELECT first + count - 1 FROM rows ORDER BY first DESC LIMIT 1), (SELECT last FROM trimmed))"


def check_starts(data_dir: DataDir, *, seen: Offset, repair: bool) -> list[Finding]:
    """Every registration after an event that never was; with `repair` it is set to where it can have been.

    `seen` is the newest offset that others than these registrations tell of. Nothing is found where the log or the
    control database cannot be read.
    """
    name = data_dir.control.name
    findings = []
    try:
        with looked_at(data_dir.event_log, LOG) as log:
            if (head := fetch_one(log, _HEAD)[0]) is None:
                return []
            limit = max(seen, head)
            with looked_at(data_dir.control, CONTROL) as db:
                impossible = fetch(db, _IMPOSSIBLE, (limit,))
            for id_, start, registered_at_ms in impossible:
                what = f"destination {id_!r} begins after event {start}, and there have only been events 1 to {limit}"
                due, why = _due(data_dir, id_, registered_at_ms, log, limit)
                if repair:
                    _set_start(data_dir.control, id_, due)
                done = f"it begins after event {due} now, {why}" if repair else None
                findings.append(Finding(name, what, repaired=done))
    except LogError:
        pass  # that is a finding of its own
    return findings


def _due(data_dir: DataDir, id_: str, registered_at_ms: int, log: apsw.Connection, limit: Offset) -> tuple[Offset, str]:
    """Where a destination must begin so that it misses nothing, and how that is known."""
    if (start := _start_of_store(data_dir, id_)) is not None and 0 <= start <= limit:
        return start, "as its store does"
    first = fetch_one(log, "SELECT min(first) FROM rows WHERE received_at_ms >= ?", (registered_at_ms,))[0]
    return limit if first is None else first - 1, "before what was received since it was registered"


def _start_of_store(data_dir: DataDir, id_: str) -> Offset | None:
    path = data_dir.store(id_)
    if path.parent != data_dir.stores or not path.exists():
        return None
    try:
        with looked_at(path, STORE) as db:
            return read_state(db).start
    except LogError:
        return None


def _set_start(path: Path, id_: str, start: Offset) -> None:
    with closing(connect(path, CONTROL, create=False)) as db, errors_of(path), transaction(db):
        db.execute("UPDATE destinations SET start = ? WHERE id = ?", (start, id_))
