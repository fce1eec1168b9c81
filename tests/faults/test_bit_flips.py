from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from sluicegate.errors import LogDamaged
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.quarantine import Quarantine
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from sluicegate.fsck.check import check
from sluicegate.pages import FRAME_HEADER_BYTES, WAL_HEADER_BYTES
from sluicegate.paths import DataDir
from sluicegate.testing.batches import batch_of
from tests.faults.flipping import Outcome, build, changed_headers, event_at, flip, read_everything, record_at, root_of

N_EVENTS = 150
POSITIONS = 48
"""Of the database, and as many of the WAL; more by hand when this code is changed."""


def damaged_copy(source: DataDir, target: Path, name: str, position: int, bit: int) -> DataDir:
    """The directory after a change of one bit and a restart of the machine."""
    shutil.copytree(source.root, target, ignore=shutil.ignore_patterns("*-shm"))
    flip(target / name, position, bit)
    return DataDir(target)


def filled(folder: Path, *, checkpoint: bool) -> DataDir:
    data_dir = DataDir(folder)
    data_dir.create()
    build(data_dir.event_log, N_EVENTS, checkpoint=checkpoint)
    Bell(data_dir.bell).ring(N_EVENTS)
    return data_dir


def restart(data_dir: DataDir) -> Outcome:
    """Read everything, as a system does that is started, after a repair when it refuses to start."""
    try:
        check_end(data_dir.event_log, acknowledged=N_EVENTS)
    except LogDamaged:
        assert check(data_dir, repair=True, progress=lambda *_: None)
        check_end(data_dir.event_log, acknowledged=N_EVENTS)
    log = SqliteLog(data_dir.event_log, create=False, reader="crm")
    assert log.head() == N_EVENTS
    return read_everything(log)


def lost_rows(outcome: Outcome, rows: list[range]) -> list[range]:
    """The rows of which something is missing; fails unless all of the row is, and nothing is wrong with the rest."""
    assert outcome.intact == {offset: event_at(offset) for offset in outcome.intact}
    assert outcome.damaged == set(range(1, N_EVENTS + 1)) - set(outcome.intact)
    lost = [row for row in rows if not outcome.damaged.isdisjoint(row)]
    assert outcome.damaged == {offset for row in lost for offset in row}
    return lost


def rows_of(data_dir: DataDir, target: Path) -> list[range]:
    shutil.copytree(data_dir.root, target)
    log = SqliteLog(DataDir(target).event_log)
    return [range(row.first, row.last + 1) for row in log.read(0, max_events=10**6, max_bytes=10**9)]


def places(size: int, first: int, page: int, *, seed: int) -> list[int]:
    """Positions in as many pages as there are tries: half anywhere, half at the front where the structure is."""
    chance = random.Random(seed)
    starts = list(range(first, size - page + 1, page))
    pages = [*starts] * (POSITIONS // len(starts) + 1)
    chance.shuffle(pages)
    return [at + chance.randrange(page if i % 2 else 64) for i, at in enumerate(pages[:POSITIONS])]


def test_changed_bit_of_the_database_costs_at_most_the_row_it_is_in(tmp_path: Path) -> None:
    source = filled(tmp_path / "source", checkpoint=True)
    rows = rows_of(source, tmp_path / "rows")
    size = source.event_log.stat().st_size
    n_lost = 0

    for number, position in enumerate(places(size, 0, SCHEMA.page_size, seed=7)):
        data_dir = damaged_copy(source, tmp_path / str(number), "events.db", position, number % 8)
        outcome = restart(data_dir)

        lost = lost_rows(outcome, rows)
        assert len(lost) <= 1, (position, number % 8, lost)
        ledger = {offset for one in Quarantine(data_dir.root).all() for offset in range(one.first, one.last + 1)}
        assert ledger == outcome.damaged
        n_lost += len(lost)
        shutil.rmtree(data_dir.root)

    assert n_lost > POSITIONS / 4


def test_changed_bit_of_the_wal_costs_at_most_the_row_it_is_in(tmp_path: Path) -> None:
    source = filled(tmp_path / "source", checkpoint=False)
    rows = rows_of(source, tmp_path / "rows")
    size = source.event_log.with_name("events.db-wal").stat().st_size
    n_lost = 0

    positions = places(size, WAL_HEADER_BYTES, FRAME_HEADER_BYTES + SCHEMA.page_size, seed=11)
    for number, position in enumerate([0, 9, 17, 21, 26, *positions]):
        data_dir = damaged_copy(source, tmp_path / str(number), "events.db-wal", position, number % 8)
        outcome = restart(data_dir)

        lost = lost_rows(outcome, rows)
        assert len(lost) <= 1, (position, number % 8, lost)
        n_lost += len(lost)
        shutil.rmtree(data_dir.root)

    assert n_lost > POSITIONS / 4


@pytest.fixture
def small_rows(tmp_path: Path) -> Path:
    """A log with three rows of two events each."""
    log = SqliteLog(tmp_path / "events.db")
    for _ in range(3):
        log.append([batch_of([b"one", b"two"])], received_at_ms=1_700_000_000_000)
    log.close()
    return log.path


def test_number_that_has_become_a_text_costs_the_row_it_is_in_alone(small_rows: Path) -> None:
    for byte, bit in changed_headers(small_rows, 3):
        log = SqliteLog(small_rows)
        outcome = read_everything(log)
        arrived = [log.received_at_ms(after) for after in range(6)]
        log.close()

        assert outcome.damaged <= {3, 4}, (byte, bit)
        assert len(outcome.intact) + len(outcome.damaged) == 6
        assert all(isinstance(one, int) for one in arrived)


def test_log_whose_last_row_has_a_text_for_a_number_is_refused_with_what_to_do(small_rows: Path) -> None:
    for _ in changed_headers(small_rows, 5):
        try:
            check_end(small_rows, acknowledged=6)
        except LogDamaged as error:
            assert "sluicegate fsck --repair" in str(error)


def test_retention_removes_a_row_that_has_a_text_for_a_number(small_rows: Path) -> None:
    flip(small_rows, record_at(small_rows, 3) + 2, 4)  # how many events it has
    log = SqliteLog(small_rows)

    log.trim(5)

    assert log.tail() == 5


@pytest.mark.parametrize("max_events", [1, 7])
def test_damaged_stretch_is_read_in_pieces_like_any_other(tmp_path: Path, max_events: int) -> None:
    source = filled(tmp_path / "source", checkpoint=True)
    root = root_of(source.event_log, "rows")
    flip(source.event_log, (root - 1) * SCHEMA.page_size + 4, 5)  # its number of cells: nothing leads on any more

    outcome = read_everything(SqliteLog(source.event_log), max_events=max_events)

    assert len(outcome.intact) == N_EVENTS
