from __future__ import annotations

import threading

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.report import ReportKind
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.destinations.base import Batch
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry
from tests.delivery.world import World, in_call
from tests.doubles.vendor import Vendor


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
    worker, _, release = in_call(world)
    worker.stop(0.0)
    assert worker.join(10)
    release.set()

    world.start(Vendor())
    world.wait_caught_up()

    assert world.store().unsettled() == ([], [])
