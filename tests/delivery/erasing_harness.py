"""Erasing in a data directory as the command and the running system do it, and looking for what it may have left."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, Regulation, SubjectKind, find_regulation, regulate, unfinished
from sluicegate.delivery.erasing import Eraser, Report
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event
from tests.delivery.world import YES, World

ANNE, BEN = "anne-5b21", "ben-77aa"
CANARY = "secret-of-anne"
NOW_MS = 1_700_000_000_000


def ask(
    data_dir: DataDir, *ids: str, kind: Kind = Kind.SUPPRESS_WITH_DELETE, visitor: bool = True, id_: str = "r1"
) -> Regulation:
    """Record a regulation, as is done before it is answered for."""
    ledger, log = Ledger(data_dir.consent, data_dir.consent_key), SqliteLog(data_dir.event_log)
    try:
        subject_kind = SubjectKind.ANONYMOUS_ID if visitor else SubjectKind.USER_ID
        return regulate(ledger, id_, kind, subject_kind, ids, head=log.head(), now_ms=NOW_MS)
    finally:
        ledger.close()
        log.close()


def erase_all(data_dir: DataDir) -> list[Report]:
    """Do what unfinished regulations ask for."""
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        eraser = Eraser(data_dir, ledger)
        reports = []
        for regulation in unfinished(ledger):
            report = eraser.begin(regulation)
            eraser.complete(regulation, report, now_ms=NOW_MS)
            reports.append(report)
        return reports
    finally:
        ledger.close()


def unfinished_in(data_dir: DataDir) -> list[Regulation]:
    """What is still to be done."""
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        return unfinished(ledger)
    finally:
        ledger.close()


def regulation(data_dir: DataDir, id_: str = "r1") -> Regulation:
    """What the ledger says of a regulation."""
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        found = find_regulation(ledger, id_)
    finally:
        ledger.close()
    assert found is not None
    return found


def traces(data_dir: DataDir, *texts: str) -> list[str]:
    """The files below the data directory that have any of these texts; compressed payloads are looked into."""
    found = [
        str(path) for path in sorted(data_dir.root.rglob("*")) if path.is_file() and _has(path.read_bytes(), texts)
    ]
    log = SqliteLog(data_dir.event_log)
    try:
        rows = log.read(0, max_events=10**9, max_bytes=10**12)
        found += [f"row {row.first}" for row in rows if row.damage is None and _has(log.payload(row), texts)]
    finally:
        log.close()
    return found


def _has(data: bytes, texts: Sequence[str]) -> bool:
    return any(text.encode() in data for text in texts)


def event_of(id_: str, subject: str, *, size: int = 0, user: str | None = None) -> bytes:
    canary = CANARY if subject == ANNE else "public"
    noise = os.urandom(size).hex()
    return json.dumps({"type": "track", "anonymousId": subject, "userId": user, "c": canary, "x": noise}).encode()


def append(world: World, *subjects: str, size: int = 0, combo: Combo = YES, received_at_ms: int = 1) -> None:
    batch = EventBatch()
    for subject in subjects:
        id_ = f"{subject}-{world.log.head()}-{len(batch)}"
        add_event(batch, event_of(id_, subject, size=size), message_id=id_, combo=combo, anonymous_id=subject)
    world.log.append([batch], received_at_ms=received_at_ms)
    world.bell.ring()


def events(world: World) -> list[bytes]:
    rows = world.log.read(0, max_events=10**6, max_bytes=10**9)
    return [event for row in rows for event in world.log.events(row)]


def no_progress(what: str, done: int, total: int) -> None: ...
