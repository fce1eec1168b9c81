"""Regulations in a system: put in force at once, and their traces erased by a thread that goes on after a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, Regulation, SubjectKind, find_regulation, reach, regulate, unfinished
from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.delivery.erasing import SETTLE_S, Eraser, Progress, Report, locked
from sluicegate.errors import LogError
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.sqlite import errors_of

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
STOP_S = 5.0
RUNNING, FINISHED, PARTIAL_SUCCESS, NOT_SUPPORTED = "RUNNING", "FINISHED", "PARTIAL_SUCCESS", "NOT_SUPPORTED"
"""Of Segment's words for how a regulation stands (docs.segmentapis.com, Get Regulation) those that are used here."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A regulation that is on disk; the destinations in `late` have not confirmed that they know of it."""

    regulation: Regulation
    late: Sequence[str]


def put_in_force(data_dir: DataDir, kind: Kind, subject_kind: SubjectKind, ids: Sequence[str]) -> InForce:
    """Record a regulation; when it returns no call begins any more that carries an event of these subjects.

    Takes milliseconds, and up to two seconds when a destination's process is stopped. Raises `LogError`; then nothing
    was recorded.
    """
    head = head_of(data_dir)
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        now_ms = time.time_ns() // 1_000_000
        regulation = regulate(ledger, uuid4().hex, kind, subject_kind, ids, head=head, now_ms=now_ms)
    finally:
        ledger.close()
    return InForce(regulation, wait_until_seen(data_dir.stores).late)


def find(data_dir: DataDir, id_: str) -> Regulation | None:
    """The regulation with this id; raises `LogError` when the ledger cannot be read."""
    if not data_dir.consent.exists():
        return None
    ledger = Ledger(data_dir.consent, data_dir.consent_key, create=False)
    try:
        return find_regulation(ledger, id_)
    finally:
        ledger.close()


def erase_now(data_dir: DataDir, *, progress: Progress) -> bool:
    """Erase what unfinished regulations ask for, where no system runs; False when another process is at it."""
    ledger = Ledger(data_dir.consent, data_dir.consent_key)
    try:
        with locked(data_dir) as is_mine:
            if not is_mine:
                return False
            eraser = Eraser(data_dir, ledger, progress=progress)
            for regulation in unfinished(ledger):
                eraser.complete(regulation, eraser.begin(regulation), now_ms=time.time_ns() // 1_000_000)
    finally:
        ledger.close()
    return True


def count_traces(data_dir: DataDir, subject_kind: SubjectKind, ids: Sequence[str], *, progress: Progress) -> Report:
    """What erasing these subjects would erase; changes nothing."""
    if not data_dir.consent.exists():  # looking must not begin a ledger: nobody has told anything, so nobody is linked
        with TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder) / "consent.db", Path(folder) / "consent.key")
            return _counted(data_dir, ledger, subject_kind, ids, progress)
    ledger = Ledger(data_dir.consent, data_dir.consent_key, create=False)
    return _counted(data_dir, ledger, subject_kind, ids, progress)


def _counted(
    data_dir: DataDir, ledger: Ledger, subject_kind: SubjectKind, ids: Sequence[str], progress: Progress
) -> Report:
    try:
        eraser = Eraser(data_dir, ledger, progress=progress, dry_run=True)
        return eraser.count(reach(ledger, subject_kind, ids), up_to=head_of(data_dir))
    finally:
        ledger.close()


def head_of(data_dir: DataDir) -> Offset:
    """Where the event log ends; 0 when there is none."""
    if not data_dir.event_log.exists():
        return 0
    event_log = SqliteLog(data_dir.event_log, create=False, reader=None)
    try:
        return event_log.head()
    finally:
        event_log.close()


def overall_status(regulation: Regulation) -> str:
    """How a regulation stands, as one word."""
    if not regulation.finished_at_ms:
        return RUNNING
    report = Report.of(regulation.report)
    partial = bool(report.unreadable) or NOT_SUPPORTED in report.destinations.values()
    return PARTIAL_SUCCESS if partial else FINISHED


def described(regulation: Regulation) -> dict[str, Any]:
    """A regulation in the form of Segment's API, with what was erased here in `erased`."""
    report = Report.of(regulation.report)
    finished_at = _time(regulation.finished_at_ms)
    destinations = [
        {
            "id": name,
            "name": name,
            "status": status,
            "errString": _UNSUPPORTED if status == NOT_SUPPORTED else "",
            "finishedAt": finished_at,
        }
        for name, status in sorted(report.destinations.items())
    ]
    return {
        "id": regulation.id,
        "regulationType": regulation.kind,
        "subjectType": regulation.subject_kind,
        "subjects": regulation.n_subjects,
        "overallStatus": overall_status(regulation),
        "createdAt": _time(regulation.created_at_ms),
        "finishedAt": finished_at,
        "streamStatus": [{"id": "sluicegate", "destinationStatus": destinations}] if destinations else [],
        "changed": regulation.changed,
        "erased": {
            "events": report.events,
            "deadLetters": report.letters,
            "logWords": report.words,
            "filesRemoved": report.files,
            "unreadable": report.unreadable,
        },
    }


_UNSUPPORTED = "it has got events, and this type of destination cannot delete at the vendor: ask the vendor"


def _time(unix_ms: int) -> str | None:
    if not unix_ms:
        return None
    return datetime.fromtimestamp(unix_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ErasingThread:
    """Erases what unfinished regulations ask for, as long as the system runs.

    Looks once a second whether there is something to do, which costs microseconds when nothing was written.
    """

    def __init__(self, data_dir: DataDir, *, settle_s: float = SETTLE_S) -> None:
        self._data_dir = data_dir
        self._settle_s = settle_s
        self._asked_to_stop = threading.Event()
        self._begun: dict[str, tuple[Report, float]] = {}
        self._attempts: dict[str, Report] = {}
        """How far those have come that could not be begun as a whole, so that the log is not read again and again."""
        self._data_version = -1
        self._thread = threading.Thread(target=self._run, name="erasing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, timeout_s: float = STOP_S) -> None:
        """End it, without waiting for ever; what was begun is begun again after the next start."""
        self._asked_to_stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("erasing does not end within %g s; the process ends without it", timeout_s)

    def _run(self) -> None:
        while not self._asked_to_stop.is_set():
            try:
                if self._data_dir.consent.exists():
                    self._serve()
            except LogError as error:
                log.warning("what was to be erased has to wait: %s", error)
            except Exception:
                log.exception("what was to be erased has to wait")
            self._asked_to_stop.wait(LOOK_EVERY_S)

    def _serve(self) -> None:
        ledger = Ledger(self._data_dir.consent, self._data_dir.consent_key)
        try:
            self._data_version = -1
            while not self._asked_to_stop.is_set():
                self._look(ledger)
                self._asked_to_stop.wait(LOOK_EVERY_S)
        finally:
            ledger.close()

    def _look(self, ledger: Ledger) -> None:
        with errors_of(ledger.path):
            version = ledger.db.pragma("data_version")
        if version == self._data_version and not self._begun:
            return
        found = unfinished(ledger)
        self._begun = {one.id: self._begun[one.id] for one in found if one.id in self._begun}
        self._attempts = {one.id: self._attempts[one.id] for one in found if one.id in self._attempts}
        if found:
            with locked(self._data_dir) as is_mine:
                for regulation in found if is_mine else ():
                    self._go_on(ledger, regulation)
        self._data_version = version if not found else -1

    def _go_on(self, ledger: Ledger, regulation: Regulation) -> None:
        """Begin a regulation, or complete it once everything has come that was on its way when it was asked for."""
        eraser = Eraser(self._data_dir, ledger, stop=self._asked_to_stop.is_set)
        begun = self._begun.get(regulation.id)
        if begun is None:
            report = self._attempts.setdefault(regulation.id, Report.anew(regulation.report))
            self._begun[regulation.id] = eraser.begin(regulation, report), time.monotonic()
            del self._attempts[regulation.id]
        elif time.monotonic() >= begun[1] + self._settle_s:
            eraser.complete(regulation, begun[0], now_ms=time.time_ns() // 1_000_000)
            log.info(
                "regulation %s: %d events and %d dead letters erased", regulation.id, begun[0].events, begun[0].letters
            )
            del self._begun[regulation.id]
