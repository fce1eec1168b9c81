"""The ledger of what was stored and can no longer be read: a file of its own, beside the damaged log.

A reader that meets damage writes it here, durably, before it goes on; the log itself is never written to by a reader.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import Schema, connect, errors_of, fetch, transaction

FILE_NAME = "quarantine.db"

SCHEMA = Schema(
    what="quarantine ledger",
    application_id=0x53477175,  # "SGqu"
    version=1,
    sql="""
    CREATE TABLE damage (
        first INTEGER NOT NULL, last INTEGER NOT NULL, found_by TEXT NOT NULL, why TEXT NOT NULL,
        found_at_ms INTEGER NOT NULL, PRIMARY KEY (first, found_by)
    ) STRICT, WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Damage:
    """Events `first` to `last` are lost to whoever is named in `found_by`: a destination, "router", "fsck"."""

    first: Offset
    last: Offset
    why: str
    found_by: str
    found_at_ms: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class Quarantine:
    """The ledger of one data directory; opens its file for each use, which is seldom."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def record(self, first: Offset, last: Offset, *, why: str, found_by: str) -> None:
        """Remember a stretch of the log as lost; on disk when it returns. Telling it again changes nothing."""
        with self._open(create=True) as db, transaction(db):
            db.execute(
                "INSERT INTO damage VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET last = max(last, excluded.last), why = excluded.why "
                "WHERE excluded.last > last",
                (first, last, found_by, why, time.time_ns() // 1_000_000),
            )

    def all(self) -> list[Damage]:
        """Everything that was found, in the order of the log; nothing when there is no ledger."""
        if not self.path.exists():
            return []
        with self._open(create=False) as db:
            rows = fetch(db, "SELECT first, last, why, found_by, found_at_ms FROM damage ORDER BY first, found_by")
        return [Damage(*row) for row in rows]

    @contextmanager
    def _open(self, *, create: bool) -> Iterator[apsw.Connection]:
        db = connect(self.path, SCHEMA, synchronous="FULL", create=create)
        try:
            with errors_of(self.path):
                yield db
        finally:
            db.close()


def n_lost(damages: Iterable[Damage]) -> int:
    """How many events are lost, each counted once however often it was met."""
    total, end = 0, 0
    for one in sorted(damages, key=lambda one: one.first):
        total += max(0, one.last - max(end, one.first - 1))
        end = max(end, one.last)
    return total
