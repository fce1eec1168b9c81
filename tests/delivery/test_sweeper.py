from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import StoreState
from sluicegate.config.model import (
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    LogConfig,
    OnUndecided,
    Requirement,
    SupervisorConfig,
)
from sluicegate.delivery.held import HoldBounds, Holds
from sluicegate.delivery.letters import DeadLetter, LetterFilter, LetterStatus
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.delivery.trimming import TRIM_EVERY_S
from sluicegate.errors import LogUnavailable
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.base import Row
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registry
from sluicegate.testing.batches import add_event, batch_of
from tests.delivery.consenting import EVENT_MS, record, told

NO = Combo("track", "web", (("marketing", False),))
YES = Combo("track", "web", (("marketing", True),))
SILENT = Combo("track", "web")
IDS = ("ads", "crm")
AGES_S = 1e10  # the events of these tests arrived in 1970
LETTER = DeadLetter(1, "m1", NO, b"{}", "400", 1, 0, 0, 0)


class World:
    """Two destinations that may have nothing of what arrives, and a sweeper."""

    def __init__(self, root: Path, *, crm: str = "marketing") -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.log = SqliteLog(self.data_dir.event_log)
        self.bell = Bell(self.data_dir.bell)
        registry = Registry(self.data_dir.control)
        registry.register(IDS, head=0)
        registry.close()
        purposes = {"ads": "marketing", "crm": crm}
        destinations = {id: DestinationConfig(id, "http", Requirement((purposes[id],))) for id in IDS}
        consent = ConsentConfig(ttl_s=0, on_undecided=OnUndecided.DROP)
        log = LogConfig(retention_s=0.0, max_age_s=AGES_S, min_free_bytes=0, min_free_percent=0)
        config = Config(root, GatewayConfig(), SupervisorConfig(), destinations, log=log, consent=consent)
        self.wanted: list[tuple[str, ...]] = []
        self.fatal: queue.Queue[Exception] = queue.Queue()
        self.sweeper = Sweeper(config, self.data_dir, on_wanted=self.wanted.append, on_fatal=self.fatal.put)

    def append(self, n_events: int, combo: Combo = NO, visitor: str = "s") -> None:
        batch = EventBatch()
        for index in range(n_events):
            add_event(batch, b"{}", message_id=f"m{index}", combo=combo, anonymous_id=visitor)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def store(self, id: str) -> DestinationStore:
        return DestinationStore.open(self.data_dir.store(id), start=0)

    def state(self, id: str) -> StoreState:
        store = self.store(id)
        state = store.state
        store.close()
        return state

    def spoil(self, id: str) -> None:
        self.data_dir.stores.mkdir(exist_ok=True)
        self.data_dir.store(id).write_bytes(b"not a store" * 1_000)

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(3_000):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("did not come true")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.sweeper.stop()
    world.log.close()


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


# -- stores that cannot be read ---------------------------------------------------------------------------------------


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


# -- failures that nobody has foreseen ----------------------------------------------------------------------------


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
