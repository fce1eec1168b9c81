from __future__ import annotations

import threading

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, DestinationConfig, OnUndecided, Requirement
from sluicegate.delivery.flight import interrupted_calls
from sluicegate.delivery.report import Report, ReportKind
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import CredentialsRefused, Rejected
from sluicegate.event import Combo
from tests.delivery.world import NO, World, in_call
from tests.doubles.vendor import Vendor


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
    worker, vendor, release = in_call(world)

    worker.stop(10.0)
    release.set()

    assert worker.join(10)
    assert [world.next_report().kind for _ in range(2)] == [ReportKind.LOADED, ReportKind.STOPPED]
    assert world.state().delivered == 1
    assert vendor.verbs == ["initialize", "destroy"]


def test_call_that_outlasts_the_deadline_is_left_and_its_events_come_again(world: World) -> None:
    worker, _, release = in_call(world)

    worker.stop(0.0)

    assert worker.join(10)
    release.set()
    assert world.state().cursor == 0


def test_worker_ends_before_its_deadline_though_a_call_does_not(world: World) -> None:
    worker, _, release = in_call(world)

    worker.stop(2.0)
    has_ended = worker.join(2.0)

    release.set()
    assert has_ended
    assert interrupted_calls(world.data_dir.store("vendor").with_suffix(".calls"))[1] == []


def test_running_call_shows_as_stalled_while_the_worker_answers(world: World) -> None:
    worker, _, release = in_call(world)

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


def test_rate_limit_of_the_configuration_bounds_every_call(world: World) -> None:
    world.config = DestinationConfig("vendor", "vendor", Requirement(("measurement",)), rate_per_s=50.0)
    world.append(*[f"m{n}" for n in range(60)])
    vendor = Vendor(limits=Limits(max_events=100))

    world.start(vendor)
    world.wait_caught_up()

    assert sorted(map(len, vendor.calls)) == [10, 50]


def test_worker_tells_whether_it_keeps_up_with_the_log(world: World) -> None:
    def told_when_the_log_goes_to(head: int) -> list[bool]:
        world.bell.ring(head)
        return world.keeping_up

    world.append("a")
    world.start(Vendor())

    world.wait(lambda: told_when_the_log_goes_to(1) == [True])
    world.wait(lambda: told_when_the_log_goes_to(1_000_000) == [True, False])
    world.wait(lambda: told_when_the_log_goes_to(1) == [True, False, True])


def test_destroy_that_hangs_shows_as_stalled(world: World) -> None:
    def refuse(batch: Batch) -> None:
        raise CredentialsRefused("401")

    release = threading.Event()
    vendor = Vendor(refuse)
    vendor.on_destroy = lambda: release.wait(10)
    world.append("a")

    worker = world.start(vendor)
    try:
        world.wait(lambda: "destroy" in vendor.verbs)
        world.wait(lambda: worker.snapshot().stalled_s > 0.1)
    finally:
        release.set()

    assert worker.join(10)
    assert worker.snapshot().stalled_s == 0.0


@pytest.mark.parametrize(
    ("outcome", "ended"),
    [
        (Outcome({0: ValueError("bad")}), {"dead": 1}),  # type: ignore[dict-item]
        (Outcome({0: "bad"}, response=b"no"), {"dead": 1}),  # type: ignore[arg-type]
        (Rejected("bad").answered(400, b"no"), {"dead": 1}),  # type: ignore[arg-type]
        (Outcome(skipped={0: "half a pair \ud83d"}), {"denied": {"half a pair ?": 1}}),
        (Outcome(skipped={0: 7}), {"denied": {"7": 1}}),  # type: ignore[dict-item]
    ],
)
def test_texts_of_an_outcome_that_are_none_end_no_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | Rejected, ended: dict[str, object]
) -> None:
    def deliver(batch: Batch) -> Outcome:
        if isinstance(outcome, Rejected):
            raise outcome
        return outcome

    world.append("a")
    vendor = Vendor()
    monkeypatch.setattr(vendor, "deliver", deliver)
    world.start(vendor)

    world.wait_caught_up()
    world.stop()

    state = world.state()
    assert {name: getattr(state, name) for name in ended} == ended
