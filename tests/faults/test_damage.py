from __future__ import annotations

from pathlib import Path

import apsw
import msgpack
import pytest

from sluicegate.accounts import DAMAGED, account_of
from sluicegate.config.declaration import Limits
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.plugin import Mask
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweep import Sweep
from sluicegate.errors import LogDamaged, LogTooNew
from sluicegate.event import Combo
from sluicegate.eventlog.quarantine import Quarantine, n_lost
from sluicegate.eventlog.rows import half_seal
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import batch_of
from sluicegate.testing.disk import FaultyDisk
from tests.faults.flipping import build, read_everything

GRANTED, REFUSED = Combo("track", "web"), Combo("track", "app")


def decide(combo: Combo) -> str | None:
    return None if combo == GRANTED else "no consent"


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    log = SqliteLog(tmp_path / "events.db", reader="crm")
    for combo in (GRANTED, GRANTED, REFUSED, GRANTED, GRANTED):
        log.append([batch_of([b"one", b"two", b"three"], combo=combo)], received_at_ms=1)
    return log


def damage(log: SqliteLog, first: int, column: str) -> None:
    change(log, f"UPDATE rows SET {column} = {column} + 1 WHERE first = {first}")


def change(log: SqliteLog, sql: str) -> None:
    """Change the log behind its back; no older copy of the row is left in the WAL, where it would be found."""
    log._db.execute(sql)
    log._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def deliver_all(log: SqliteLog, store: DestinationStore) -> list[bytes]:
    """What a destination gets; its accounts balance after every commit."""
    lanes = Lanes(store.claim(store.state.epoch + 1).cursor, Limits(max_events=2))
    reader = Reader(log, decide, lanes)
    commits = Commits(store, lanes, reader, epoch=store.state.epoch, mask=Mask())
    got: list[bytes] = []
    while reader.fill() or lanes.has_waiting:
        for work in lanes.next_batches(now=0.0):
            got += work.batch.raws
            lanes.complete(work, None, now=0.0)
        commits.gather(0.0)
        commits.commit()
        account = account_of(store.state, head=log.head())
        parts = account.delivered + account.pending + account.dead + account.denied + account.expired
        assert account.accepted == parts
    return got


@pytest.mark.parametrize("column", ["seal", "payload_crc", "count", "n_bytes", "received_at_ms"])
def test_destination_gets_everything_but_the_damaged_row(log: SqliteLog, tmp_path: Path, column: str) -> None:
    damage(log, 4, column)
    store = DestinationStore.open(tmp_path / "crm.db", start=0)

    got = deliver_all(log, store)

    state = store.state
    (found,) = Quarantine(tmp_path).all()
    assert len(got) == 9
    assert (state.cursor, state.delivered, state.expired) == (15, 9, 3)
    assert (state.denied, state.expired_by) == ({"no consent": 3}, {DAMAGED: 3})
    assert (found.first, found.last, found.found_by) == (4, 6, "crm")


def test_damage_behind_a_cursor_in_the_middle_of_a_row_counts_the_rest_of_it(log: SqliteLog, tmp_path: Path) -> None:
    damage(log, 4, "seal")
    store = DestinationStore.open(tmp_path / "crm.db", start=4)

    deliver_all(log, store)

    assert (store.state.delivered, store.state.expired_by) == (6, {DAMAGED: 2})


def test_adjacent_damaged_rows_are_counted_exactly(log: SqliteLog, tmp_path: Path) -> None:
    for first in (1, 4, 7):
        damage(log, first, "seal")
    store = DestinationStore.open(tmp_path / "crm.db", start=0)

    deliver_all(log, store)

    assert (store.state.delivered, store.state.expired_by) == (6, {DAMAGED: 9})
    assert n_lost(Quarantine(tmp_path).all()) == 9


def test_row_that_vanished_is_damage_and_not_retention(log: SqliteLog, tmp_path: Path) -> None:
    log.trim(4)
    change(log, "DELETE FROM rows WHERE first = 7")
    store = DestinationStore.open(tmp_path / "crm.db", start=0)

    deliver_all(log, store)

    assert (store.state.expired, store.state.expired_by) == (6, {DAMAGED: 3})


def test_destination_without_a_process_counts_damage_too(log: SqliteLog) -> None:
    damage(log, 7, "seal")
    sweep = Sweep(lambda name, combo: "no consent")
    sweep.watch("crm", epoch=0, cursor=0)

    while rows := log.read(sweep.position() or 0, max_events=100, max_bytes=10_000):
        for row in rows:
            sweep.look(row)

    (skip,) = sweep.skips(at_most=1)
    assert (skip.to, skip.denied, skip.damaged, skip.expired) == (15, {"no consent": 12}, 3, 0)


def test_skipped_damage_is_counted_in_the_store(tmp_path: Path) -> None:
    store = DestinationStore.open(tmp_path / "crm.db", start=0)

    store.skip(expected_epoch=0, expected_cursor=0, cursor=7, denied={"a": 2}, expired=1, damaged=4)

    assert (store.state.expired, store.state.expired_by, store.state.denied) == (5, {DAMAGED: 4}, {"a": 2})


def test_row_of_a_newer_format_stops_the_reader_instead_of_being_left_out(log: SqliteLog) -> None:
    meta = msgpack.packb([99])
    seal = half_seal(meta, count=3, received_at_ms=1, n_bytes=13) + 4
    log._db.execute("UPDATE rows SET meta = ?, seal = ? & 4294967295 WHERE first = 4", (meta, seal))

    with pytest.raises(LogTooNew, match="upgrade"):
        log.read(3, max_events=10, max_bytes=100)


def test_row_that_stands_for_damage_has_its_offsets_and_the_time_of_the_next(log: SqliteLog) -> None:
    damage(log, 4, "seal")

    row = log.read(3, max_events=10, max_bytes=100)[0]

    assert row.damage == "its checksum is wrong"
    assert (row.first, row.last, row.received_at_ms) == (4, 6, 1)


def test_older_copy_of_a_damaged_row_is_read_while_the_wal_has_it(log: SqliteLog, tmp_path: Path) -> None:
    for first in (4, 7):
        log._db.execute("UPDATE rows SET seal = seal + 1 WHERE first = ?", (first,))

    rows = log.read(3, max_events=100, max_bytes=10_000)

    assert [(row.first, row.damage) for row in rows] == [(4, None), (7, None)]
    assert log.events(rows[0]) == [b"one", b"two", b"three"]
    assert not Quarantine(tmp_path).all()


def test_disk_that_cannot_be_read_is_an_error_and_nothing_is_given_up(tmp_path: Path) -> None:
    build(tmp_path / "events.db", 60)
    disk = FaultyDisk()
    log = SqliteLog(tmp_path / "events.db")
    disk.fail_read = True
    try:
        with pytest.raises(LogDamaged, match="cannot be read back"):
            read_everything(log)
    finally:
        disk.unregister()

    assert not Quarantine(tmp_path).all()
