from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluicegate.accounts import StoreState
from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, DestinationConfig, OnUndecided, Requirement
from sluicegate.delivery.lanes import RETRY_BASE_S
from sluicegate.delivery.letters import LetterFilter
from sluicegate.delivery.report import Report, ReportKind
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.destinations.base import Batch
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event
from tests.doubles.vendor import Vendor

YES = Combo("track", "web", (("measurement", True),))
NO = Combo("track", "web", (("measurement", False),))


class World:
    """A data directory with a log, and at most one worker at a time."""

    def __init__(self, root: Path) -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.log = SqliteLog(self.data_dir.event_log)
        self.bell = Bell(self.data_dir.bell)
        self.config = DestinationConfig("vendor", "vendor", Requirement(("measurement",)))
        self.consent = ConsentConfig()
        self.epoch = 0
        self.reports: queue.Queue[Report] = queue.Queue()
        self.worker: DeliveryWorker | None = None

    def append(self, *ids: str, combo: Combo = YES, subject: str | None = None) -> None:
        batch = EventBatch()
        for id_ in ids:
            add_event(batch, b'{"id":"%s"}' % id_.encode(), message_id=id_, combo=combo, anonymous_id=subject or id_)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def append_raw(self, id_: str, event: bytes, *, subject: str | None) -> None:
        batch = EventBatch()
        add_event(batch, event, message_id=id_, combo=YES, anonymous_id=subject)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def start(self, vendor: Vendor) -> DeliveryWorker:
        self.epoch += 1
        self.worker = DeliveryWorker(
            self.config,
            self.data_dir,
            self.epoch,
            self.reports.put,
            start_offset=0,
            make=vendor.make,
            consent=self.consent,
        )
        self.worker.start()
        return self.worker

    def next_report(self) -> Report:
        return self.reports.get(timeout=10)

    def wait_caught_up(self) -> None:
        assert self.worker is not None
        head = self.log.head()
        self.wait(lambda: self.worker.snapshot().cursor == head and self.worker.snapshot().caught_up)  # type: ignore[union-attr]

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(1_000):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("did not come true")

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.stop(5.0)
            assert self.worker.join(10)

    def store(self) -> DestinationStore:
        return DestinationStore.open(self.data_dir.store("vendor"), start=0)

    def state(self) -> StoreState:
        store = self.store()
        try:
            return store.state
        finally:
            store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.stop()
    world.bell.close()
    world.log.close()


def test_worker_delivers_what_is_in_the_log_and_what_comes_then(world: World) -> None:
    world.append("a", "b")
    vendor = Vendor()
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.events == ["a", "b"])

    world.append("c")
    vendor.wait_for(lambda: vendor.events == ["a", "b", "c"])
    world.wait_caught_up()

    assert world.next_report() == Report(ReportKind.LOADED)
    snapshot = worker.snapshot()
    assert (snapshot.cursor, snapshot.delivered, snapshot.error, snapshot.stalled_s) == (3, 3, None, 0.0)


def test_stop_finishes_the_call_in_flight_commits_and_destroys(world: World) -> None:
    world.append("a")
    release = threading.Event()
    vendor = Vendor(lambda batch: release.wait(10))
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    worker.stop(10.0)
    release.set()

    assert worker.join(10)
    assert [world.next_report().kind for _ in range(2)] == [ReportKind.LOADED, ReportKind.STOPPED]
    assert world.state().delivered == 1
    assert vendor.verbs == ["initialize", "destroy"]


def test_call_that_outlasts_the_deadline_is_left_and_its_events_come_again(world: World) -> None:
    world.append("a")
    release = threading.Event()
    vendor = Vendor(lambda batch: release.wait(10))
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    worker.stop(0.0)

    assert worker.join(10)
    release.set()
    assert world.state().cursor == 0


def test_running_call_shows_as_stalled_while_the_worker_answers(world: World) -> None:
    world.append("a")
    release = threading.Event()
    vendor = Vendor(lambda batch: release.wait(10))
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["a"]])

    first = worker.snapshot().stalled_s
    world.wait(lambda: worker.snapshot().stalled_s > first > 0)

    assert not worker.snapshot().caught_up
    release.set()


def test_what_may_not_go_out_is_counted_and_never_delivered(world: World) -> None:
    world.append("a", "b", combo=NO)
    world.append("c")
    world.append("d", combo=Combo("track", "web"))
    world.consent = ConsentConfig(on_undecided=OnUndecided.DROP)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    world.stop()

    assert vendor.events == ["c"]
    assert (world.state().delivered, world.state().denied) == (1, {"consent_denied": 2, "consent_undecided": 1})


def test_events_that_retention_removed_are_counted_as_expired(world: World) -> None:
    world.append("a", "b")
    world.append("c")
    world.log.trim(3)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    world.stop()

    assert (vendor.events, world.state().expired, world.state().cursor) == (["c"], 2, 3)


def test_rejected_event_becomes_a_dead_letter_with_everything_a_replay_needs(world: World) -> None:
    def answer(batch: Batch) -> None:
        if "bad" in batch.message_ids:
            raise Rejected("400: no such user")

    world.append("a", "bad", "b")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()

    store = world.store()
    (letter,) = store.letters.list()
    store.close()
    assert (letter.offset, letter.message_id, letter.event, letter.combo) == (2, "bad", b'{"id":"bad"}', YES)
    assert letter.reason == "400: no such user"
    assert 0 < letter.first_attempt_at_ms <= letter.last_attempt_at_ms <= letter.entered_at_ms
    assert (world.state().delivered, world.state().dead) == (2, 1)


def test_replayed_letter_is_delivered_and_one_that_lost_consent_is_denied(world: World) -> None:
    bad = True

    def answer(batch: Batch) -> None:
        if bad:
            raise Rejected("400")

    world.append("a", subject="s")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()
    bad = False
    store = world.store()
    store.letters.mark_replay(LetterFilter())

    vendor = Vendor(answer)
    world.start(vendor)
    vendor.wait_for(lambda: vendor.events == ["a"])
    world.wait(lambda: store.state.delivered == 1)

    assert (store.state.dead, list(store.letters.list())) == (0, [])
    store.close()


def test_replay_without_consent_is_denied(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise Rejected("400")

    world.append("a")
    world.start(Vendor(answer))
    world.wait_caught_up()
    world.stop()
    store = world.store()
    store.letters.mark_replay(LetterFilter())
    world.config = DestinationConfig("vendor", "vendor", Requirement(("marketing",)))

    vendor = Vendor()
    world.start(vendor)
    world.wait(lambda: store.state.dead == 0)

    assert (store.state.denied, vendor.calls) == ({"consent_undecided": 1}, [])
    store.close()


def test_failed_call_is_repeated_and_its_error_shows_without_secrets(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_BASE_S", 0.01)
    assert RETRY_BASE_S == 1.0
    fail = threading.Event()

    def answer(batch: Batch) -> None:
        if not fail.is_set():
            raise RuntimeError("key hunter2-secret refused " + "x" * 1_000)

    world.append("a")
    vendor = Vendor(answer)
    worker = world.start(vendor)
    vendor.wait_for(lambda: len(vendor.calls) >= 2)
    world.wait(lambda: worker.snapshot().error is not None)
    error = worker.snapshot().error or ""
    fail.set()
    world.wait_caught_up()

    assert error.startswith("RuntimeError: key *** refused")
    assert len(error) == 500
    assert worker.snapshot().error is None
    assert vendor.events == ["a"]


def test_refused_credentials_halt_the_worker_and_lose_nothing(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise CredentialsRefused("401 for hunter2-secret")

    world.append("a")
    worker = world.start(Vendor(answer))

    assert worker.join(10)
    assert [world.next_report() for _ in range(2)] == [
        Report(ReportKind.LOADED),
        Report(ReportKind.HALTED, "401 for ***"),
    ]
    assert (world.state().cursor, world.state().dead) == (0, 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotReady("down"), ReportKind.FAILED),
        (CredentialsRefused("key"), ReportKind.HALTED),
        (SystemExit(3), ReportKind.FAILED),
        (ValueError("bug"), ReportKind.FAILED),
    ],
)
def test_plugin_that_cannot_start_is_reported(world: World, error: BaseException, kind: ReportKind) -> None:
    vendor = Vendor()

    def fail() -> None:
        raise error

    vendor.on_initialize = fail
    worker = world.start(vendor)

    assert worker.join(10)
    report = world.next_report()
    assert (report.kind, bool(report.reason)) == (kind, True)
    assert world.reports.empty()


def test_plugin_that_is_not_installed_is_reported(world: World) -> None:
    worker = DeliveryWorker(world.config, world.data_dir, 1, world.reports.put, start_offset=0)

    worker.start()

    assert worker.join(10)
    report = world.next_report()
    assert report.permanent
    assert report.kind is ReportKind.FAILED
    assert "pip install" in report.reason


def test_test_on_load_runs_test_before_loaded(world: World) -> None:
    world.config = DestinationConfig("vendor", "vendor", Requirement(("measurement",)), test_on_load=True)
    vendor = Vendor()

    world.start(vendor)

    assert world.next_report().kind is ReportKind.LOADED
    assert vendor.verbs == ["initialize", "test"]


def test_worker_of_an_older_epoch_cannot_commit_and_ends(world: World) -> None:
    world.append("a")
    hold = threading.Event()
    old = Vendor(lambda batch: hold.wait(10))
    worker = world.start(old)
    old.wait_for(lambda: old.calls == [["a"]])
    store = world.store()
    store.claim(99)
    store.close()

    hold.set()

    assert worker.join(10)
    assert [world.next_report().kind for _ in range(2)] == [ReportKind.LOADED, ReportKind.SUPERSEDED]
    assert world.state().cursor == 0


def test_several_calls_run_at_a_time_but_never_two_of_one_subject(world: World) -> None:
    together = threading.Barrier(3, timeout=10)
    for n in range(30):
        world.append(f"e{n}", subject=f"s{n}")

    def answer(batch: Batch) -> None:
        if not together.broken and "go" not in seen:
            together.wait()
            seen.add("go")

    seen: set[str] = set()
    vendor = Vendor(answer, Limits(max_events=10, in_flight=3))
    world.start(vendor)
    vendor.wait_for(lambda: len(vendor.events) == 30)
    world.wait_caught_up()

    assert sorted(vendor.events) == sorted(f"e{n}" for n in range(30))


def test_next_start_goes_on_where_the_last_ended(world: World) -> None:
    world.append("a")
    world.start(Vendor())
    world.wait_caught_up()
    world.stop()
    world.append("b")

    vendor = Vendor()
    world.start(vendor)
    vendor.wait_for(lambda: vendor.events == ["b"])
    world.wait_caught_up()

    assert (world.state().delivered, world.state().epoch) == (2, 2)


def test_new_store_begins_where_the_destination_was_registered(world: World) -> None:
    world.append("before")
    world.append("after")
    vendor = Vendor()

    world.worker = DeliveryWorker(world.config, world.data_dir, 1, world.reports.put, start_offset=1, make=vendor.make)
    world.worker.start()
    vendor.wait_for(lambda: bool(vendor.events))

    assert vendor.events == ["after"]


def test_retry_after_is_kept(world: World) -> None:
    def answer(batch: Batch) -> None:
        raise Retry("429", after_s=3_000)

    world.append("a")
    vendor = Vendor(answer)
    worker = world.start(vendor)
    world.wait(lambda: worker.snapshot().error == "429")

    worker.stop(5.0)

    assert worker.join(10)
    assert len(vendor.calls) == 1


def test_failing_events_keep_their_history_over_a_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_BASE_S", 0.01)
    attempts: list[int] = []

    def fail(batch: Batch) -> None:
        attempts.append(batch.attempt)
        raise Retry(f"hunter2-secret, attempt {batch.attempt}")

    def refuse(batch: Batch) -> None:
        attempts.append(batch.attempt)
        raise Rejected("never")

    world.append("a")
    vendor = Vendor(fail)
    world.start(vendor)
    vendor.wait_for(lambda: len(vendor.calls) >= 3)
    world.stop()
    before = len(attempts)
    world.start(Vendor(refuse))
    world.wait_caught_up()
    world.stop()

    store = world.store()
    (letter,) = store.letters.list()
    left = store.unsettled()
    store.close()
    assert attempts == list(range(1, before + 2))
    assert (letter.attempts, letter.reason, letter.epoch) == (before + 1, "never", 2)
    assert letter.first_error == "***, attempt 1"
    assert letter.first_attempt_at_ms < letter.last_attempt_at_ms
    assert left == ([], [])


def test_call_that_was_under_way_when_the_process_died_is_made_again_as_it_was(world: World) -> None:
    world.append("a", "b")
    release = threading.Event()
    first = Vendor(lambda batch: release.wait(10), Limits(max_events=100))
    worker = world.start(first)
    first.wait_for(lambda: first.calls == [["a", "b"]])
    copy = world.data_dir.store("vendor").with_suffix(".calls").read_bytes()
    worker.stop(0.0)
    assert worker.join(10)
    release.set()
    world.data_dir.store("vendor").with_suffix(".calls").write_bytes(copy)  # as a killed process leaves it
    world.append("c", "d")

    second = Vendor(limits=Limits(max_events=100))
    world.start(second)
    world.wait_caught_up()

    assert second.calls[0] == ["a", "b"]
    assert second.events == ["a", "b", "c", "d"]
    assert world.store().unsettled() == ([], [])


def test_worker_that_was_stopped_during_a_call_leaves_no_suspicion(world: World) -> None:
    world.append("a")
    release = threading.Event()
    vendor = Vendor(lambda batch: release.wait(10))
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["a"]])
    worker.stop(0.0)
    assert worker.join(10)
    release.set()

    world.start(Vendor())
    world.wait_caught_up()

    assert world.store().unsettled() == ([], [])


def test_rate_limit_of_the_configuration_bounds_every_call(world: World) -> None:
    world.config = DestinationConfig("vendor", "vendor", Requirement(("measurement",)), rate_per_s=50.0)
    world.append(*[f"m{n}" for n in range(60)])
    vendor = Vendor(limits=Limits(max_events=100))

    world.start(vendor)
    world.wait_caught_up()

    assert sorted(map(len, vendor.calls)) == [10, 50]
