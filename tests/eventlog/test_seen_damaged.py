from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from tests.eventlog.test_seen import DAY_S, batch, open_log
from tests.faults.flipping import changed_headers, record_at, root_of

N_ROWS = 40
IDS = [str(number).rjust(400, "-") for number in range(1, N_ROWS + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of rows with one event each, a few on a page; nothing is left in the WAL and no ids are saved."""
    log = SqliteLog(tmp_path / "events.db")
    for message_id in IDS:
        log.append([batch(message_id)], received_at_ms=1)
    log.close()
    return log.path


def overwrite_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek((number - 1) * SCHEMA.page_size)
        file.write(b"\xff" * 64)


def change(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()


def n_stored_of_all(path: Path) -> int:
    """Start with the log, which accepts a new event, and send everything again; how much is taken for new."""
    log = open_log(path)
    log.load_seen(now_ms=2)
    head = log.head()
    assert log.append([batch(f"new {head}")], received_at_ms=2) == [head + 1]
    log.append([batch(*IDS)], received_at_ms=2)
    log.maintain()
    log.close()
    return len(IDS) - log.n_left_out


def test_damaged_page_in_the_middle_costs_only_ids_near_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overwrite_page(path, record_at(path, 20) // SCHEMA.page_size + 1)

    check_end(path, acknowledged=N_ROWS)
    n_stored = n_stored_of_all(path)

    assert 1 <= n_stored < N_ROWS / 2
    assert caplog.text.count("are not known") == 1


def test_damaged_header_of_a_row_costs_only_ids_near_it(path: Path) -> None:
    for changed in changed_headers(path, 20):
        assert n_stored_of_all(path) <= 4, changed


def test_damaged_count_does_not_hide_the_rows_that_follow(path: Path) -> None:
    change(path, "UPDATE rows SET count = count + 64 WHERE first = 20")

    assert n_stored_of_all(path) == 1


SPOIL_KEY = "UPDATE seen_ids SET hashes = x'00' WHERE last = 0"
SPOIL_HASHES = "UPDATE seen_ids SET hashes = x'00' WHERE last > 0"


@pytest.mark.parametrize("damage", [None, SPOIL_KEY, SPOIL_HASHES])
def test_damaged_table_of_saved_ids_costs_nothing_but_time(path: Path, damage: str | None) -> None:
    n_stored_of_all(path)
    if damage is None:
        overwrite_page(path, root_of(path, "seen_ids"))
    else:
        change(path, damage)

    assert [n_stored_of_all(path), n_stored_of_all(path)] == [0, 0]


def test_damaged_block_of_ids_is_replaced_by_what_the_rows_say(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    n_stored_of_all(path)
    change(path, "UPDATE seen_ids SET hashes = x'00' WHERE last = (SELECT min(last) FROM seen_ids WHERE last > 0)")

    assert n_stored_of_all(path) == 0
    assert caplog.text.count("are taken from the rows") == 1
    assert n_stored_of_all(path) == 0
    assert caplog.text.count("are taken from the rows") == 1


def test_table_of_saved_ids_that_becomes_damaged_does_not_end_appends(path: Path) -> None:
    n_stored_of_all(path)
    seen = SeenIds(window_s=DAY_S, max_ids=1_000)
    log = SqliteLog(path, seen=seen)
    log.append([batch("new")], received_at_ms=2)
    overwrite_page(path, root_of(path, "seen_ids"))

    SqliteLog(path, seen=seen).maintain()
    log.append([batch(*IDS, "newer")], received_at_ms=2)

    assert log.n_left_out == N_ROWS
