"""Logs with known events, single changed bits, and what can be read afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from sluicegate.errors import RowDamaged
from sluicegate.eventlog.base import EventLog, Offset, RowGone
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.pages import Pages
from sluicegate.sqlite import fetch
from sluicegate.testing.batches import batch_of

SIZES = (0, 1, 90, 700, 8_100, 8_193, 30_000)


def event_at(offset: Offset) -> bytes:
    """The bytes of the event that gets this offset; its size is near the borders of a page now and then."""
    size = SIZES[offset * 7919 % len(SIZES)]
    return (b"%08d:" % offset) + random.Random(offset).randbytes(size).replace(b",", b".")


def build(path: Path, n_events: int, *, seed: int = 1, checkpoint: bool = True) -> None:
    """A log of so many events in rows of 1 to 40; all of it in the database, or all of it still in the WAL."""
    chance = random.Random(seed)
    log = SqliteLog(path)
    log._db.set_wal_hook(None)
    at = 1
    while at <= n_events:
        count = min(n_events + 1 - at, chance.choice((1, 1, 1, 3, 40)))
        log.append([batch_of([event_at(offset) for offset in range(at, at + count)])], received_at_ms=1_700_000_000_000)
        at += count
    log._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not checkpoint)
    log.close()


@dataclass(slots=True)
class Outcome:
    """What reading a log from its first event on gave."""

    intact: dict[Offset, bytes] = field(default_factory=dict)
    damaged: set[Offset] = field(default_factory=set)


def read_everything(log: EventLog, after: Offset = 0, *, max_events: int = 300) -> Outcome:
    """Read as a destination does, with all payloads; fails when the rows leave a gap or an offset comes twice."""
    outcome = Outcome()
    while rows := log.read(after, max_events=max_events, max_bytes=10_000_000):
        for row in rows:
            assert row.first <= after + 1 <= row.last, (after, row.first, row.last)
            try:
                events = log.events(row)
                outcome.intact.update({row.first + i: event for i, event in enumerate(events)})
            except RowDamaged:
                outcome.damaged.update(range(after + 1, row.last + 1))
            except RowGone as error:
                raise AssertionError("nothing was trimmed") from error
            after = row.last
    return outcome


def flip(path: Path, position: int, bit: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes((byte ^ 1 << bit,)))


def record_at(path: Path, first: Offset) -> int:
    """Where in the file of a log, whose WAL is empty, the record of a small row begins: with its header."""
    data = path.read_bytes()
    size = SCHEMA.page_size
    pages = Pages(lambda _, at, n: data[at : at + n], page_size=size, n_pages=len(data) // size, n_frames=0)
    for place, page in pages.leaves():
        for cell in pages.cells(page):
            if cell.rowid == first and len(cell.local) > 20:
                return data.index(cell.local, (place - 1) * size)
    raise AssertionError(f"row {first} is not in {path}")


def changed_headers(path: Path, first: int) -> Iterator[tuple[int, int]]:
    """Change each bit in turn of what says how the columns of a row are stored; the file is right again afterwards."""
    whole = path.read_bytes()
    at = record_at(path, first)
    for byte in range(whole[at]):
        for bit in range(8):
            path.write_bytes(whole)
            flip(path, at + byte, bit)
            yield byte, bit
    path.write_bytes(whole)


def root_of(path: Path, name: str) -> int:
    """The number of the page at which a table or an index begins."""
    db = apsw.Connection(str(path))
    number: int = fetch(db, "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,))[0][0]
    db.close()
    return number
