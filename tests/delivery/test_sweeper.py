from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.delivery.beyond import Beyond, Block, Ending
from sluicegate.errors import LogUnavailable
from sluicegate.event import Combo
from sluicegate.eventlog.base import Row
from sluicegate.eventlog.sqlite import SqliteLog
from tests.delivery.consenting import EVENT_MS, record, told
from tests.delivery.sweeping import IDS, LETTER, SILENT, YES, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.sweeper.stop()
    world.log.close()


def test_sweeper_that_cannot_go_on_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sluicegate")
    held, arrived = threading.Event(), threading.Event()

    def pass_(_: SqliteLog) -> None:
        arrived.set()
        held.wait(60)

    monkeypatch.setattr(world.sweeper, "_pass", pass_)
    world.sweeper.start()
    assert arrived.wait(60)

    try:
        world.sweeper.stop(timeout_s=0.01)
        assert "the sweeper does not end within 0.01 s" in caplog.text
    finally:
        held.set()


def test_cursors_are_left_alone_until_it_is_known_who_runs(world: World) -> None:
    for id in IDS:
        store = world.store(id)
        store.claim(1)
        store.close()
    world.append(3)
    world.sweeper._pass(world.log)
    world.sweeper.start()

    world.sweeper.set_running(["ads"])
    world.wait(lambda: world.state("crm").cursor == 3)

    assert world.state("ads").cursor == 0


def test_letter_that_is_marked_for_replay_is_found_without_a_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.REPLAYS_EVERY_S", 0.05)
    store = world.store("crm")
    store.claim(1)
    world.append(2)
    store.commit(1, cursor=1, dead_letters=[LETTER])
    world.sweeper.set_running(())
    world.sweeper.start()
    world.wait(lambda: world.state("crm").cursor == 2)

    store.letters.mark_replay()
    store.close()

    world.wait(lambda: world.wanted[-1:] == [("crm",)])


def test_what_is_settled_beyond_a_cursor_is_left_to_its_process_whatever_it_may_not_have_now(world: World) -> None:
    store = world.store("crm")
    store.claim(1)
    world.append(3)
    store.commit(1, cursor=0, beyond=Beyond([Block(0, b"\0\0\1", [Ending("delivered", 0)])]))
    store.close()

    world.sweeper.set_running(())
    world.sweeper.start()

    world.wait(lambda: world.wanted[-1:] == [("crm",)] and world.state("ads").cursor == 3)
    assert (world.state("crm").cursor, world.state("crm").denied) == (0, {})


def test_statement_35_what_the_ledger_denies_wakes_nobody(world: World) -> None:
    record(world.data_dir, [told(False, visitor="anne")])
    world.append(1_000, YES, "anne")
    world.append(3)
    world.sweeper.set_running(())
    world.sweeper.start()

    world.wait(lambda: world.state("ads").cursor == world.state("crm").cursor == 1_003)

    assert world.wanted == []
    assert world.state("ads").denied == {"withdrawn": 1_000, "consent_denied": 3}


def test_a_grant_in_the_ledger_wakes_those_who_may_have_the_event(world: World) -> None:
    record(world.data_dir, [told(True, visitor="anne", at_ms=EVENT_MS)])
    world.append(100, SILENT, "ben")
    world.append(1, SILENT, "anne")
    world.sweeper.set_running(())
    world.sweeper.start()

    world.wait(lambda: world.state("ads").cursor == 100)

    assert world.wanted == [("ads", "crm")]
    assert world.state("ads").denied == {"consent_undecided": 100}


def test_statement_32_nothing_is_decided_while_the_ledger_cannot_be_read(world: World) -> None:
    record(world.data_dir, [told(False, visitor="anne")])
    key = world.data_dir.consent_key.read_bytes()
    world.data_dir.consent_key.write_bytes(b"damaged")
    world.append(5, SILENT, "anne")
    world.sweeper.set_running(())
    world.sweeper._pass(world.log)
    before = world.state("ads").cursor

    world.data_dir.consent_key.write_bytes(key)
    world.sweeper.start()
    world.wait(lambda: world.state("ads").cursor == 5)

    assert (before, world.wanted) == (0, [])


MAY = Combo("track", "web", (("marketing", False), ("measurement", True)))


class LongLog(SqliteLog):
    """A log that notes who was wanted by the time of each read."""

    def __init__(self, world: World) -> None:
        super().__init__(world.data_dir.event_log, create=False)
        self._world = world
        self.wanted_at_read: list[list[tuple[str, ...]]] = []

    def read(self, after: int, *, max_events: int, max_bytes: int) -> list[Row]:
        self.wanted_at_read.append(list(self._world.wanted))
        return super().read(after, max_events=max_events, max_bytes=max_bytes)


@pytest.fixture
def backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, LongLog]]:
    """Five rows, each of which is a read, that one destination may have and the other may not."""
    monkeypatch.setattr("sluicegate.delivery.sweeper.READ_EVENTS", 1)
    world = World(tmp_path, crm="measurement")
    for _ in range(5):
        world.append(1, MAY)
    log = LongLog(world)
    world.sweeper.set_running(())
    yield world, log
    world.sweeper.stop()
    log.close()
    world.log.close()


def test_destination_is_asked_for_before_the_rest_of_a_backlog_was_looked_at(backlog: tuple[World, LongLog]) -> None:
    world, log = backlog

    world.sweeper._pass(log)
    world.sweeper.start()

    assert log.wanted_at_read[:3] == [[], [("crm",)], [("crm",)]]


def test_nobody_waits_for_a_destination_that_is_far_behind(
    backlog: tuple[World, LongLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.READ_FOR_S", 0.0)
    world, log = backlog
    store = world.store("crm")
    store.claim(1)
    store.commit(1, cursor=4, delivered=4)
    store.close()

    world.sweeper._pass(log)
    behind = world.sweeper._sweep.position()
    world.sweeper.start()

    assert (behind, world.wanted) == (1, [("crm",)])
    world.wait(lambda: world.state("ads").cursor == 5)


def test_what_starts_while_a_backlog_is_looked_at_is_left_to_itself_at_once(
    backlog: tuple[World, LongLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.READ_FOR_S", 0.0)
    world, log = backlog
    world.sweeper._pass(log)
    read_before = len(log.wanted_at_read)

    world.sweeper.set_running(["crm"])
    world.sweeper.start()
    world.wait(lambda: world.state("ads").cursor == 5)

    assert read_before == 1
    assert world.wanted == [("crm",), ()]
    assert not world.data_dir.store("crm").exists()


def test_what_nobody_has_foreseen_is_told_and_ends_the_sweeper(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("a mistake in the code")

    def fail(event_log: SqliteLog) -> None:
        raise error

    monkeypatch.setattr(world.sweeper, "_pass", fail)
    world.sweeper.start()

    assert world.fatal.get(timeout=30) is error
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.exc_info is not None and record.exc_info[1] is error


def test_an_event_log_that_cannot_be_read_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.LOOK_EVERY_S", 0.01)
    passes: queue.Queue[None] = queue.Queue()

    def fail(event_log: SqliteLog) -> None:
        passes.put(None)
        raise LogUnavailable("locked")

    monkeypatch.setattr(world.sweeper, "_pass", fail)
    world.sweeper.start()

    for _ in range(2):
        passes.get(timeout=30)
    assert world.fatal.empty()
