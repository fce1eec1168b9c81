from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sluicegate.config.model import (
    ConsentConfig,
)
from sluicegate.delivery.held import HoldBounds, Holds
from sluicegate.delivery.letters import LetterFilter, LetterStatus
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.trimming import TRIM_EVERY_S
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import batch_of
from tests.delivery.sweeping import IDS, LETTER, YES, World


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done from time to time is done in every pass."""
    for name in ("spoilt.STORE_AGAIN_S", "sweeper.REPLAYS_EVERY_S", "sweeper.SKIP_EVERY_S"):
        monkeypatch.setattr(f"sluicegate.delivery.{name}", 0.0)


@pytest.fixture
def idle(tmp_path: Path, impatient: None) -> Iterator[World]:
    """A world whose passes the test makes itself."""
    world = World(tmp_path)
    world.sweeper.set_running(())
    yield world
    world.log.close()


def warnings_about(name: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name == "sluicegate.delivery.spoilt"]
    return [text for text in found if name in text]


def test_a_spoilt_store_keeps_no_other_destination_from_being_minded(
    idle: World, caplog: pytest.LogCaptureFixture
) -> None:
    idle.spoil("ads")
    idle.append(3)
    idle.append(1, YES)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            idle.sweeper._pass(idle.log)

    assert idle.wanted == [("crm",)]
    assert idle.state("crm").denied == {"consent_denied": 3}
    assert len(warnings_about("store of ads", caplog)) == 1
    assert warnings_about("crm", caplog) == []


@pytest.mark.parametrize("table", ["state", "decisions_before"])
def test_a_store_that_lost_a_row_which_it_cannot_do_without_is_spoilt(idle: World, table: str) -> None:
    idle.store("ads").close()
    with apsw.Connection(str(idle.data_dir.store("ads"))) as db:
        db.execute(f"DELETE FROM {table}")
    idle.append(3)
    idle.append(1, YES)

    idle.sweeper._pass(idle.log)

    assert "crm" in idle.wanted[-1]
    assert idle.state("crm").denied == {"consent_denied": 3}


def test_a_store_that_was_restored_is_minded_again(idle: World) -> None:
    idle.spoil("ads")
    idle.append(1, YES)
    idle.sweeper._pass(idle.log)

    idle.data_dir.store("ads").unlink()
    idle.sweeper._pass(idle.log)

    assert idle.wanted == [("crm",), ("ads", "crm")]


def test_a_store_that_cannot_be_opened_is_not_tried_in_every_pass(idle: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.spoilt.STORE_AGAIN_S", 3_600.0)
    idle.spoil("ads")
    idle.append(1, YES)
    idle.sweeper._pass(idle.log)

    idle.data_dir.store("ads").unlink()
    idle.sweeper._pass(idle.log)

    assert idle.wanted == [("crm",)]


def test_replays_are_found_beside_a_store_that_was_spoilt(idle: World, caplog: pytest.LogCaptureFixture) -> None:
    store = idle.store("crm")
    store.claim(1)
    idle.append(1)
    store.commit(1, cursor=1, dead_letters=[LETTER])
    idle.sweeper._pass(idle.log)

    idle.spoil("ads")
    store.letters.mark_replay()
    store.close()
    for _ in range(2):
        idle.sweeper._pass(idle.log)

    assert idle.wanted == [("crm",)]
    assert len(warnings_about("store of ads", caplog)) == 1


def test_a_cursor_that_cannot_be_moved_keeps_no_other_from_moving(idle: World) -> None:
    for id in IDS:
        idle.store(id).close()
    with apsw.Connection(str(idle.data_dir.store("ads"))) as db:
        db.execute("CREATE TRIGGER spoilt BEFORE UPDATE ON state BEGIN SELECT RAISE(ABORT, 'spoilt'); END")
    idle.append(3)

    for _ in range(2):
        idle.sweeper._pass(idle.log)

    assert idle.state("crm").cursor == 3


@pytest.mark.parametrize(("spoilt", "tail"), [(False, 4), (True, 1)])
def test_retention_keeps_all_while_it_is_not_known_what_is_held(idle: World, spoilt: bool, tail: int) -> None:
    """`ads` holds an event of the second row; only its account can still be read when its store is spoilt."""
    idle.append(3)
    idle.append(3)
    held = Holds((HeldRow(5, 1, None, 1),), 0, "", HoldBounds.of(ConsentConfig()))
    for id, what in (("ads", held), ("crm", None)):
        denied = {"consent_denied": 5 if what else 6}
        store = idle.store(id)
        store.skip(expected_epoch=0, expected_cursor=0, cursor=6, denied=denied, held=what)
        store.close()
    if spoilt:
        with apsw.Connection(str(idle.data_dir.store("ads"))) as db:
            db.execute("DROP TABLE held")

    trimming = idle.sweeper._trimming
    trimming.keep_bounds(idle.log, trimming.trimmed_at + TRIM_EVERY_S)

    assert idle.log.tail() == tail


@pytest.fixture
def damaged_log(idle: World) -> Iterator[SqliteLog]:
    """The log of the idle world with an old event on each page, the middle one of which makes no sense."""
    for _ in range(5):
        idle.log.append([batch_of([os.urandom(5_000)])], received_at_ms=1)
    path = idle.data_dir.event_log
    idle.log._checkpoints.move()
    page = path.read_bytes().index(idle.log.payload(idle.log.read(2, max_events=1, max_bytes=1)[0])) // 8192
    with path.open("r+b") as file:
        file.seek(page * 8192)
        file.write(b"\xff" * 64)
    log = SqliteLog(path, create=False, reader="router")
    yield log
    log.close()


def test_a_damaged_page_of_the_log_keeps_nothing_but_the_log_from_being_trimmed(
    idle: World, damaged_log: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    store = idle.store("crm")
    store.claim(1)
    store.commit(1, cursor=5, delivered=4, dead_letters=[LETTER])

    for _ in range(2):
        idle.sweeper._trimming.trimmed_at -= TRIM_EVERY_S
        idle.sweeper._trimming.checked_at = idle.sweeper._next_letters = 0.0
        idle.sweeper._pass(damaged_log)

    assert [letter.status for letter in store.letters.list(LetterFilter(status=LetterStatus.DROPPED))] == ["dropped"]
    assert idle.state("ads").cursor == 5
    assert caplog.text.count("the event log cannot be trimmed, and grows until it is repaired") == 1
    store.close()


def test_old_letters_are_dropped_beside_a_proof_that_cannot_be_shortened(idle: World) -> None:
    store = idle.store("crm")
    store.claim(1)
    store.commit(1, cursor=1, dead_letters=[LETTER])
    with apsw.Connection(str(idle.data_dir.store("crm"))) as db:
        db.execute("UPDATE decisions_before SET counts = 'x'")
    idle.sweeper._next_letters = 0.0

    idle.sweeper._pass(idle.log)

    assert [letter.status for letter in store.letters.list(LetterFilter(status=LetterStatus.DROPPED))] == ["dropped"]
    store.close()
