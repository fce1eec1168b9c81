from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorAddress

from sluicegate.actors.statuses import describe
from sluicegate.actors.supervisor import SupervisorActor
from sluicegate.actors.system import RunningSystem
from sluicegate.config import Config, DestinationConfig, GatewayConfig, Requirement, SupervisorConfig
from sluicegate.delivery.flight import interrupted_calls
from sluicegate.eventlog.bell import Bell
from sluicegate.loading.effects import Effect
from sluicegate.loading.table import LoadingTable
from sluicegate.messages.control import (
    ClearAll,
    Configure,
    Done,
    Drain,
    Ensure,
    LoadBatch,
    LoadResults,
    Pause,
    Preload,
    Reset,
    Resume,
    RetryLoad,
    Running,
    Unload,
)
from sluicegate.messages.ingest import Refused
from sluicegate.messages.status import (
    DestinationStatus,
    GetStats,
    GetStatus,
    IsLoaded,
    IsLoadedAnswer,
    Stats,
    StatsAnswer,
    Statuses,
)
from sluicegate.network import Network
from sluicegate.paths import DataDir
from sluicegate.pressure import MemoryUse
from sluicegate.registry import Registry, open_data
from sluicegate.testing.batches import batch_of
from tests.doubles.raw_server import RawServer

PATIENCE_S = 20.0
QUICK = SupervisorConfig(idle_ttl_s=0, retry_delay_s=0.05, retry_cap_s=60.0, max_retries=1, spawn_timeout_s=10.0)


def destination(id: str, type: str = "null", *purposes: str) -> DestinationConfig:
    return DestinationConfig(id, type, Requirement(purposes or ("necessary",)))


class Supervised:
    """A supervisor with its data directory, as seen by the launcher."""

    def __init__(self, system: RunningSystem, config: Config) -> None:
        self.system = system
        self.config = config
        self.data_dir = DataDir(config.data_dir)
        self.data_dir.create()
        registry, self.log = open_data(self.data_dir)
        registry.close()
        self.bell = Bell(self.data_dir.bell)
        self.ids = itertools.count()
        self.address = self._create()

    def _create(self) -> ActorAddress:
        address = self.system.create(SupervisorActor, global_name=f"supervisor-{next(self.ids)}")
        done = self.system.ask(address, Configure("c", self.config.encode()), timeout_s=PATIENCE_S)
        assert isinstance(done, Done), done
        self.pid = done.pid
        return address

    def kill_and_replace(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.address = self._create()

    def ask(self, kind: Callable[..., Any], *args: Any) -> Any:
        return self.system.ask(self.address, kind(f"r{next(self.ids)}", *args), timeout_s=PATIENCE_S)

    def ensure(self, *ids: str) -> Running:
        answer = self.system.ask(self.address, Ensure(ids), timeout_s=PATIENCE_S)
        assert isinstance(answer, Running)
        return answer

    def append(self, *events: bytes) -> None:
        self.log.append([batch_of(events)], received_at_ms=time.time_ns() // 1_000_000)
        self.bell.ring()

    def status(self, id: str) -> DestinationStatus:
        answer = self.ask(GetStatus, (id,))
        assert isinstance(answer, Statuses), answer
        return answer.destinations[0]

    def until(self, id: str, holds: Callable[[DestinationStatus], bool]) -> DestinationStatus:
        deadline = time.monotonic() + PATIENCE_S
        while not holds(status := self.status(id)):
            assert time.monotonic() < deadline, status
            time.sleep(0.01)
        return status

    def until_stats(self, stats: Stats) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.ask(GetStats).stats) != stats:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)

    def close(self) -> None:
        self.log.close()
        self.bell.close()


Make = Callable[..., Supervised]


@pytest.fixture
def make(started: Any, tmp_path: Path) -> Iterator[Make]:
    made: list[Supervised] = []

    def supervised(*destinations: DestinationConfig, supervisor: SupervisorConfig = QUICK) -> Supervised:
        config = Config(tmp_path / "data", GatewayConfig(), supervisor, {one.id: one for one in destinations})
        made.append(Supervised(started.system, config))
        return made[-1]

    yield supervised

    for one in made:
        one.close()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_ensured_destination_loads_once_and_delivers(make: Make) -> None:
    supervised = make(destination("a"), destination("b"))
    supervised.append(b"{}", b"{}")

    running = [supervised.ensure("a") for _ in range(5)]
    a = supervised.until("a", lambda s: s.loaded and s.delivered == 2)

    assert set(running) == {Running(("a",))}
    assert (a.state, a.loaded, a.epoch, a.error, a.retry_count) == ("loaded", True, 1, None, 0)
    assert a.pid and a.loaded_at and abs(a.loaded_at - time.time()) < PATIENCE_S
    b = supervised.status("b")
    assert (b.state, b.epoch, b.pid, b.accepted, b.pending, b.lag_events) == ("registered", 0, None, 2, 2, 2)
    assert b.lag_seconds > 0.0
    supervised.until_stats(Stats(registered=2, loaded=1, loading=0, failed=0, cached=1))


def test_killed_destination_comes_back_by_itself_with_the_next_epoch(make: Make) -> None:
    supervised = make(destination("a"))
    supervised.ensure("a")
    first = supervised.until("a", lambda s: s.loaded)
    assert first.pid is not None

    os.kill(first.pid, signal.SIGKILL)
    second = supervised.until("a", lambda s: s.loaded and s.epoch == 2)

    assert second.pid != first.pid
    assert second.retry_count == 1


def test_stopped_destination_is_replaced_and_status_goes_on(make: Make) -> None:
    supervised = make(destination("a"), supervisor=dataclasses.replace(QUICK, stall_timeout_s=1.0))
    supervised.ensure("a")
    first = supervised.until("a", lambda s: s.loaded)
    assert first.pid is not None

    os.kill(first.pid, signal.SIGSTOP)
    second = supervised.until("a", lambda s: s.loaded and s.epoch == 2)

    assert second.error is None
    assert is_gone(first.pid)


def test_destination_whose_type_is_not_installed_fails_with_its_error_and_waits(make: Make) -> None:
    supervised = make(destination("a", "no_such_type"), destination("b"))

    answer = supervised.ask(LoadBatch, ("a", "b", "c"))
    a = supervised.until("a", lambda s: s.state == "failed")

    assert isinstance(answer, LoadResults)
    assert "no_such_type" in str(answer.results["a"])
    assert answer.results["b"] is None
    assert "'c'" in str(answer.results["c"])
    assert "no_such_type" in str(a.error)
    assert (a.retry_count, a.loaded, a.next_attempt_at) == (1, False, None)


def test_retry_tries_a_failed_destination_at_once_and_reset_forgets(make: Make) -> None:
    supervised = make(destination("a", "no_such_type"))
    supervised.ensure("a")
    supervised.until("a", lambda s: s.state == "failed")

    retried = supervised.ask(RetryLoad, "a")
    after = supervised.until("a", lambda s: s.state == "failed" and s.epoch == 2)
    supervised.ask(Reset, "a")

    assert isinstance(retried, Done)
    assert after.retry_count == 2
    assert supervised.status("a").retry_count <= 1


def test_pause_stops_a_destination_over_restarts_of_the_supervisor(make: Make) -> None:
    supervised = make(destination("a"))
    supervised.ensure("a")
    loaded = supervised.until("a", lambda s: s.loaded)
    assert loaded.pid is not None

    supervised.ask(Pause, "a")
    supervised.until("a", lambda s: s.state == "paused" and s.pid is None)
    supervised.kill_and_replace()
    supervised.ensure("a")
    again = supervised.status("a")
    supervised.ask(Resume, "a")
    supervised.ensure("a")
    resumed = supervised.until("a", lambda s: s.loaded)

    assert (again.state, again.reason) == ("paused", "paused by an operator")
    assert resumed.epoch == 2
    assert is_gone(loaded.pid)
    registry = Registry(supervised.data_dir.control, create=False)
    assert registry.all()["a"].paused_reason is None
    registry.close()


def control(supervised: Supervised, statement: str) -> None:
    db = sqlite3.connect(supervised.data_dir.control)
    db.execute(statement)
    db.close()


def break_control(supervised: Supervised) -> None:
    control(
        supervised,
        "CREATE TRIGGER broken BEFORE UPDATE ON destinations BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
    )


def mend_control(supervised: Supervised) -> None:
    control(supervised, "DROP TRIGGER broken")


def test_pause_that_cannot_be_stored_is_refused_and_can_be_tried_again(make: Make) -> None:
    supervised = make(destination("a"))
    break_control(supervised)

    refused = supervised.ask(Pause, "a")
    paused = supervised.status("a")
    mend_control(supervised)
    again = supervised.ask(Pause, "a")
    supervised.kill_and_replace()

    assert isinstance(refused, Refused)
    assert "until the next restart" in refused.reason and "try again" in refused.reason
    assert paused.state == "paused"
    assert isinstance(again, Done) and again.changed
    assert supervised.status("a").state == "paused"


def test_resume_that_cannot_be_stored_is_refused_and_can_be_tried_again(make: Make) -> None:
    supervised = make(destination("a"))
    supervised.ask(Pause, "a")
    break_control(supervised)

    refused = [supervised.ask(Resume, "a") for _ in range(2)]
    resumed = supervised.status("a")
    mend_control(supervised)
    again = supervised.ask(Resume, "a")
    supervised.kill_and_replace()

    assert all(isinstance(one, Refused) and "until the next restart" in one.reason for one in refused)
    assert resumed.state == "registered"
    assert isinstance(again, Done) and again.changed
    assert supervised.status("a").state == "registered"


def test_destination_that_cannot_read_its_registration_fails_at_once_and_says_why(make: Make) -> None:
    supervised = make(destination("a"))
    control(supervised, "ALTER TABLE destinations RENAME TO elsewhere")

    supervised.ensure("a")
    failing = supervised.until("a", lambda s: s.error is not None)

    assert "control.db" in str(failing.error)


def test_load_without_a_size_takes_as_many_at_a_time_as_configured(make: Make) -> None:
    one_by_one = dataclasses.replace(QUICK, load_batch_size=1)
    supervised = make(destination("a"), destination("b"), supervisor=one_by_one)

    answer = supervised.ask(LoadBatch, ("a", "b"))
    a, b = supervised.status("a"), supervised.status("b")

    assert answer.results == {"a": None, "b": None}
    assert a.loaded_at is not None and b.last_attempt is not None
    assert a.loaded_at <= b.last_attempt + 0.001  # both are told in the time of the clock, and rounded


def test_killed_supervisor_takes_its_children_along_and_the_next_one_knows_their_epochs(make: Make) -> None:
    supervised = make(destination("a"))
    supervised.ensure("a")
    first = supervised.until("a", lambda s: s.loaded)
    assert first.pid is not None

    supervised.kill_and_replace()
    supervised.ensure("a")
    second = supervised.until("a", lambda s: s.loaded)

    assert (first.epoch, second.epoch) == (1, 2)
    assert is_gone(first.pid)


def test_preload_loads_what_the_consent_grants_and_nothing_else(make: Make) -> None:
    supervised = make(
        destination("archive"),
        destination("crm", "null", "measurement", "functionality"),
        destination("ads", "null", "marketing"),
    )

    answer = supervised.ask(Preload, {"measurement": True, "functionality": True, "marketing": False})

    assert answer.results == {"archive": None, "crm": None}
    assert supervised.ask(IsLoaded, "crm").loaded
    assert supervised.status("ads").last_attempt is None


def test_idle_destination_stops_and_is_loaded_again_when_asked_for(make: Make) -> None:
    supervised = make(destination("a"), supervisor=dataclasses.replace(QUICK, idle_ttl_s=0.2))
    supervised.ensure("a")
    supervised.until("a", lambda s: s.epoch == 1 and s.state == "registered")

    supervised.append(b"{}")
    supervised.ensure("a")
    again = supervised.until("a", lambda s: s.delivered == 1)

    assert again.epoch >= 2
    assert again.retry_count == 0


def test_a_needed_destination_takes_the_place_of_an_idle_one(make: Make) -> None:
    supervised = make(destination("a"), destination("b"), supervisor=dataclasses.replace(QUICK, max_loaded=1))
    supervised.ensure("a")
    supervised.until("a", lambda s: s.loaded)

    supervised.ensure("b")
    supervised.until("b", lambda s: s.loaded)

    assert supervised.status("a").state == "registered"


def in_an_outage(store: Path, *, for_s: float) -> None:
    """As a process leaves its store whose circuit breaker was open."""
    now_ms = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(store)) as db, db:
        db.execute(
            "UPDATE restraint SET at_ms = ?, open_until_ms = ?, open_ms = 60000, general = 1",
            (now_ms, now_ms + int(for_s * 1_000)),
        )


def test_a_needed_destination_takes_the_place_of_one_whose_vendor_is_in_an_outage(make: Make) -> None:
    supervised = make(destination("a"), destination("b"), supervisor=dataclasses.replace(QUICK, max_loaded=1))
    supervised.ensure("a")
    supervised.until("a", lambda s: s.loaded)
    supervised.ask(Unload, "a")
    supervised.until("a", lambda s: s.pid is None)
    in_an_outage(supervised.data_dir.store("a"), for_s=60.0)
    supervised.append(b"{}")
    supervised.ensure("a")
    supervised.until("a", lambda s: s.breaker == "open")

    supervised.ensure("b")
    supervised.until("b", lambda s: s.loaded)

    given = supervised.status("a")
    assert (given.state, given.retry_count, given.lag_events) == ("backing_off", 0, 1)
    assert given.reason == "its place went to another until its vendor is tried again"
    assert given.next_attempt_at is not None and 30 < given.next_attempt_at - time.time() < 61


def test_unload_and_clear_stop_what_runs(make: Make) -> None:
    supervised = make(destination("a"), destination("b"))
    supervised.ask(LoadBatch, ("a", "b"))

    unloaded = supervised.ask(Unload, "a")
    a = supervised.until("a", lambda s: s.pid is None)
    cleared = supervised.ask(ClearAll)
    b = supervised.until("b", lambda s: s.pid is None)

    assert isinstance(unloaded, Done) and isinstance(cleared, Done)
    assert (a.state, b.state) == ("registered", "registered")


def test_drain_answers_when_every_process_has_ended_and_starts_nothing_more(make: Make) -> None:
    supervised = make(destination("a"), destination("b"))
    supervised.ask(LoadBatch, ("a", "b"))
    pids = [supervised.status(id).pid for id in ("a", "b")]

    done = supervised.ask(Drain, 10.0)
    supervised.ensure("a")

    assert isinstance(done, Done)
    assert all(pid is not None and is_gone(pid) for pid in pids)
    assert supervised.status("a").pid is None


def test_drain_does_not_wait_for_a_process_that_stands_still(make: Make) -> None:
    supervised = make(destination("a"), destination("b"))
    supervised.ask(LoadBatch, ("a", "b"))
    pids = [supervised.status(id).pid or 0 for id in ("a", "b")]
    os.kill(pids[0], signal.SIGSTOP)
    began = time.monotonic()

    done = supervised.ask(Drain, 15.0)

    assert isinstance(done, Done)
    assert time.monotonic() - began < 8.0
    assert all(is_gone(pid) for pid in pids)


def test_call_that_outlasts_a_stop_is_not_taken_for_what_ended_its_process(make: Make) -> None:
    called, over = threading.Event(), threading.Event()

    def never_answer(connection: socket.socket, number: int) -> None:
        vendor.read_request(connection)
        called.set()
        over.wait(PATIENCE_S)

    vendor = RawServer(never_answer)
    slow = dataclasses.replace(destination("a", "webhook"), timeout_s=50.0, network=Network(("127.0.0.1",)))
    supervised = make(dataclasses.replace(slow, settings={"url": vendor.url}))
    supervised.append(b"{}")
    supervised.ensure("a")
    assert called.wait(PATIENCE_S)

    done = supervised.ask(Drain, 2.0)
    over.set()
    vendor.close()

    assert isinstance(done, Done)
    assert interrupted_calls(supervised.data_dir.store("a").with_suffix(".calls"))[1] == []


def test_commands_about_unknown_destinations_are_refused(make: Make) -> None:
    supervised = make(destination("a"))

    answers = [supervised.ask(kind, "x") for kind in (Unload, RetryLoad, Reset, Pause, Resume, IsLoaded)]
    status = supervised.ask(GetStatus, ("x",))

    assert all(isinstance(answer, Refused) and "'x'" in answer.reason for answer in [*answers, status])
    assert isinstance(supervised.ask(IsLoaded, "a"), IsLoadedAnswer)
    assert isinstance(supervised.ask(GetStats), StatsAnswer)


def test_questions_before_the_configuration_are_refused(started: Any) -> None:
    address = started.system.create(SupervisorActor, global_name="supervisor")

    answer = started.system.ask(address, GetStats("r"), timeout_s=PATIENCE_S)

    assert isinstance(answer, Refused)


def test_disabled_destinations_are_not_registered(make: Make) -> None:
    supervised = make(destination("a"), dataclasses.replace(destination("b"), enabled=False))

    answer = supervised.ask(GetStatus)

    assert [one.id for one in answer.destinations] == ["a"]


def test_description_of_an_unreadable_store_does_not_hide_the_others(make: Make) -> None:
    from sluicegate.actors.records import Records
    from sluicegate.loading.table import LoadingTable

    supervised = make(destination("a"), destination("b"))
    supervised.append(b"{}")
    supervised.data_dir.store("a").write_bytes(b"not a database, but long enough to look like one" * 100)
    table = LoadingTable(QUICK)
    table.register("a")
    table.register("b")

    a, b = describe(
        [table.status("a"), table.status("b")],
        supervised.config.destinations,
        Records.open(supervised.data_dir, [supervised.config.destinations[id] for id in ("a", "b")]),
    )

    assert (a.accepted, a.pending) == (0, 0)
    assert (b.accepted, b.pending) == (1, 1)


class Unsent(SupervisorActor):
    """A supervisor without an actor system, whose timers are the test's to call."""

    def after(self, delay_s: float, name: object) -> None:
        pass


def test_shortage_of_memory_that_ended_while_nothing_ran_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, now = Unsent(), time.monotonic()
    supervisor._table = table = LoadingTable(SupervisorConfig())
    table.register("a")
    asked: list[list[Effect]] = []
    monkeypatch.setattr(supervisor, "_carry_out", asked.append)

    def look(percent: int) -> None:
        monkeypatch.setattr("sluicegate.actors.supervisor.memory_use", lambda: MemoryUse(percent, 100))
        supervisor.on_timer("memory")

    def run(epoch: int) -> None:
        table.ensure(["a"], now=now - 60.0)
        table.loaded("a", epoch, now=now - 60.0, pid=7)
        table.progress("a", epoch, now=now, caught_up=True, idle_s=1.0, stalled_s=0.0, delivered=0)

    run(1)
    look(85)
    table.exited("a", 1, now=now)
    look(70)
    run(2)
    look(78)

    assert [len(effects) for effects in asked] == [2, 0, 0]
