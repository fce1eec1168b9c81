"""Which destinations are registered since when, which are paused, and that an event log exists: `control.db`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sluicegate.errors import LogDamaged
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.sqlite import Schema, connect, errors_of, fetch, transaction

SCHEMA = Schema(
    what="control database",
    application_id=0x53476374,  # "SGct"
    version=1,
    sql="""
    CREATE TABLE destinations (
        id TEXT PRIMARY KEY, start INTEGER NOT NULL, registered_at_ms INTEGER NOT NULL,
        paused_reason TEXT, paused_at_ms INTEGER
    ) STRICT;
    CREATE TABLE facts (log_created INTEGER NOT NULL) STRICT;
    INSERT INTO facts VALUES (0)
    """,
)


@dataclass(frozen=True, slots=True)
class Registration:
    """One destination that was ever configured: it gets the events after offset `start`."""

    id: str
    start: Offset
    registered_at_ms: int
    paused_reason: str | None = None
    paused_at_ms: int | None = None


class Registry:
    """The control database at `path`; one instance belongs to one thread, several processes may use the file."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._db = connect(path, SCHEMA, synchronous="FULL", create=create)

    def register(self, ids: Iterable[str], *, head: Offset) -> dict[str, Registration]:
        """Registrations of these destinations; those that are new start after `head`.

        One that was registered before keeps its start, also when it was out of the configuration in between. Raises
        `LogDamaged` when one starts beyond `head`, because the log has been replaced by an older one, or before it.
        """
        wanted = list(ids)
        now_ms = _now_ms()
        with errors_of(self.path), transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO destinations (id, start, registered_at_ms) VALUES (?, ?, ?)",
                [(id_, head, now_ms) for id_ in wanted],
            )
        known = self.all()
        for registration in known.values():
            self._check_start(registration, head)
        return {id_: known[id_] for id_ in wanted}

    def _check_start(self, registration: Registration, head: Offset) -> None:
        id_, start = registration.id, registration.start
        if not isinstance(start, int) or start < 0:
            raise LogDamaged(
                f"{self.path}: destination {id_!r} was registered at event {start}, which cannot be; "
                "run `sluicegate fsck --repair`, or restore a backup"
            )
        if start > head:
            raise LogDamaged(
                f"the event log ends at event {head}, before event {start} at which destination {id_!r} was "
                "registered; restore the newest log, or run `sluicegate fsck --repair`"
            )

    def all(self) -> dict[str, Registration]:
        """Every destination that was ever registered, configured or not, by id."""
        with errors_of(self.path):
            rows = fetch(
                self._db,
                "SELECT id, start, registered_at_ms, paused_reason, paused_at_ms FROM destinations ORDER BY id",
            )
        return {row[0]: Registration(*row) for row in rows}

    def set_paused(self, destination_id: str, reason: str | None) -> None:
        """Remember that a destination is paused and why, or with None that it is not; `KeyError` for an unknown one."""
        paused_at_ms = None if reason is None else _now_ms()
        with errors_of(self.path), transaction(self._db):
            self._db.execute(
                "UPDATE destinations SET paused_reason = ?, paused_at_ms = ? WHERE id = ?",
                (reason, paused_at_ms, destination_id),
            )
            if not self._db.changes():
                raise KeyError(destination_id)

    @property
    def log_created(self) -> bool:
        """Whether this data directory has ever had an event log."""
        with errors_of(self.path):
            return bool(fetch(self._db, "SELECT log_created FROM facts")[0][0])

    def mark_log_created(self) -> None:
        """Remember that there is an event log: from now on a missing one is damage."""
        with errors_of(self.path):
            self._db.execute("UPDATE facts SET log_created = 1")

    def close(self) -> None:
        """Release the file."""
        self._db.close()


def registrations(data_dir: DataDir) -> dict[str, Registration]:
    """Every destination that was ever registered in this data directory, by id."""
    registry = Registry(data_dir.control, create=False)
    try:
        return registry.all()
    finally:
        registry.close()


def open_data(data_dir: DataDir) -> tuple[Registry, SqliteLog]:
    """Open, or in a new directory make, the control database and the event log; never one without the other.

    Raises `LogDamaged` when one of the two was there before and is missing.
    """
    registry = Registry(data_dir.control, create=not data_dir.event_log.exists())
    try:
        log = SqliteLog(data_dir.event_log, create=not registry.log_created)
        registry.mark_log_created()
    except BaseException:
        registry.close()
        raise
    return registry, log


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
