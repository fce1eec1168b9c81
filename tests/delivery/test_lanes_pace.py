from __future__ import annotations

from collections.abc import Callable

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.delivery.breaker import BreakerState
from sluicegate.delivery.budget import CAPACITY, REFILL_PER_S, TRANSIENT_COST
from sluicegate.delivery.lane import Origin
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.pace import GIVE_UP_AFTER_S
from sluicegate.delivery.settlement import Stage
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from sluicegate.eventlog.runs import Events
from tests.delivery.lanes_harness import Harness

DAY_S = 24 * 3600.0
LIMITS = Limits(max_events=100, max_bytes=100_000, in_flight=8)
SUBJECTS = [f"s{n % 50}" for n in range(2_000)]


def down_until(heal_s: float) -> Callable[[Batch, float], BaseException | None]:
    return lambda batch, now: Retry("down") if now < heal_s else None


def open_breaker(lanes: Lanes) -> float:
    now = 0.0
    while lanes.breaker.state is not BreakerState.OPEN:
        for work in lanes.next_batches(now):
            lanes.complete(work, Retry("500").answered(500), now=now)
        now = max(now, lanes.next_due(now))
    return lanes.breaker.until


def filled(n: int, limits: Limits = LIMITS, *, subjects: int = 50) -> Lanes:
    lanes = Lanes(0, limits, random=lambda: 0.5)
    offsets = range(1, n + 1)
    lanes.add(
        bytes(n), Events.of(offsets, [f"m{o}" for o in offsets], [f"s{o % subjects}" for o in offsets], [b"{}"] * n)
    )
    return lanes


def test_nothing_goes_out_while_the_breaker_is_open() -> None:
    lanes = filled(1_000)

    until = open_breaker(lanes)

    assert lanes.next_batches(until - 0.001) == []
    assert lanes.next_due(until - 0.001) == until


def test_vendor_that_comes_back_gets_one_event_then_two_then_four() -> None:
    lanes = filled(1_000)
    now = open_breaker(lanes)
    sizes = []

    while lanes.breaker.state is not BreakerState.CLOSED:
        (work,) = lanes.next_batches(now)
        assert lanes.next_batches(now) == []
        sizes.append(len(work.batch))
        now += 0.1
        lanes.complete(work, None, now=now)

    assert sizes[:3] == [1, 2, 4]
    assert all(size <= 2**number for number, size in enumerate(sizes))


def test_outage_of_any_length_kills_nothing_and_all_is_delivered_after_it() -> None:
    harness = Harness(down_until(10 * DAY_S), limits=LIMITS, subjects=SUBJECTS)

    total = harness.run(max_s=11 * DAY_S)

    assert (total.delivered, total.dead) == (2_000, [])
    assert harness.calls[-1][0] < 10 * DAY_S + 400


def test_storm_is_answered_with_no_more_retries_than_the_budget_has() -> None:
    harness = Harness(down_until(600), limits=LIMITS, subjects=SUBJECTS)

    total = harness.run()

    assert total.delivered == 2_000
    for first in harness.retries:
        in_storm = [at for at in harness.retries if first <= at < 600]
        assert TRANSIENT_COST * len(in_storm) <= CAPACITY + 600 * REFILL_PER_S
    assert harness.calls[-1][0] < 600 + 300 + 60


def test_failures_that_never_end_for_some_leave_the_budget_to_fresh_events() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if now < 1_000 and min(batch.offsets) % 3 == 0 else None,
        limits=Limits(max_events=1, in_flight=4),
        subjects=[f"s{n}" for n in range(600)],
    )

    harness.run(max_s=900)

    assert TRANSIENT_COST * len(harness.retries) <= CAPACITY + 900 * REFILL_PER_S + TRANSIENT_COST * len(
        harness.delivered
    )


def test_throttled_vendor_never_opens_the_breaker() -> None:
    harness = Harness(
        lambda batch, now: Retry("slow down").answered(429) if now < 120 else None, limits=LIMITS, subjects=SUBJECTS
    )

    total = harness.run()

    assert total.delivered == 2_000
    assert harness.lanes.breaker.failures[0] == 0


def test_event_that_is_throttled_for_days_is_neither_split_off_nor_given_up() -> None:
    harness = Harness(
        lambda batch, now: Retry("quota").answered(429) if now < 3 * DAY_S else None,
        limits=Limits(max_events=10, in_flight=1),
        subjects=["a"] * 10,
    )

    total = harness.run()

    assert (total.delivered, total.dead) == (10, [])
    assert {len(offsets) for _, offsets in harness.calls} == {10}


def test_event_that_alone_fails_is_given_up_after_a_day_in_which_others_go_through() -> None:
    poison = 3
    feed = [f"s{n}" for n in range(4_000)]
    harness = Harness(
        lambda batch, now: Retry("500").answered(500, "boom") if poison in batch.offsets else None,
        limits=Limits(max_events=5, in_flight=1),
        subjects=feed,
        duration_s=lambda: 120.0,
    )

    total = harness.run(max_s=3 * DAY_S)

    (dead,) = total.dead
    assert (dead.offset, dead.stage, dead.status, dead.response) == (poison, Stage.GIVEN_UP, 500, "boom")
    assert dead.last_attempt - dead.first_attempt >= GIVE_UP_AFTER_S
    assert dead.first_error == "500"
    assert total.delivered == 3_999


def test_event_that_breaks_the_vendor_after_an_outage_is_given_up_though_all_others_wait_behind_it() -> None:
    def vendor(batch: Batch, now: float) -> Retry | None:
        return Retry("500") if now < 3_600 or 3 in batch.offsets else None

    harness = Harness(vendor, limits=Limits(max_events=2, in_flight=1), subjects=["the only one"] * 50)

    total = harness.run(max_s=3 * DAY_S)

    assert [dead.offset for dead in total.dead] == [3]
    assert total.delivered == 49


def test_outage_of_ten_days_costs_an_event_a_day_at_most_where_only_one_can_be_tried() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if now < 10 * DAY_S else None,
        limits=Limits(max_events=100, in_flight=2),
        subjects=["the only one"] * 1_000,
    )

    total = harness.run()

    assert len(total.dead) <= 10
    assert total.delivered == 1_000 - len(total.dead)


def test_one_failing_event_does_not_hold_up_the_others_of_a_destination_with_one_call_at_a_time() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if 1 in batch.offsets else None,
        limits=Limits(max_events=100, in_flight=1),
        subjects=["poison", *[f"s{n}" for n in range(5_000)]],
    )

    harness.run(max_s=12 * 3600)

    assert len(harness.delivered) > 4_000
    assert harness.total.cursor == 0


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("status", [429, 503])
def test_event_for_which_the_vendor_always_wants_a_pause_lets_the_others_pass(status: int, in_flight: int) -> None:
    harness = Harness(
        lambda batch, now: Retry("wait", after_s=10.0).answered(status) if 1 in batch.offsets else None,
        limits=Limits(max_events=1, max_bytes=100_000, in_flight=in_flight),
        subjects=["throttled", *[f"s{n}" for n in range(100)]],
        duration_s=lambda: 0.001,
    )

    harness.run(max_s=3_600)

    assert len(harness.delivered) == 100
    assert len(harness.retries) > 10


@pytest.mark.parametrize("in_flight", [1, 4])
def test_event_for_which_the_vendor_wants_a_pause_has_its_turn_however_many_others_wait(in_flight: int) -> None:
    harness = Harness(
        lambda batch, now: Retry("wait", after_s=1.0).answered(429) if 1 in batch.offsets and now < 30 else None,
        limits=Limits(max_events=10, max_bytes=100_000, in_flight=in_flight),
        subjects=["throttled", *[f"s{n}" for n in range(9)], *[f"t{n}" for n in range(20_000)]],
        duration_s=lambda: 0.05,
    )

    harness.run(max_s=40)

    assert 1 in harness.delivered
    assert len(harness.delivered) < 20_000


def test_released_events_pass_one_for_which_the_vendor_always_wants_a_pause() -> None:
    lanes = filled(1, Limits(max_events=1, in_flight=1))
    (stuck,) = lanes.next_batches(0.0)
    lanes.complete(stuck, Retry("wait", after_s=10.0).answered(429), now=0.0)
    lanes.release(Events.of([7], ["m7"], ["released"], [b"{}"]), Origin.HELD)

    (work,) = lanes.next_batches(10.0)

    assert list(work.batch.message_ids) == ["m7"]


def test_time_of_an_outage_does_not_count_against_an_event() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if now < 23 * 3600 or 1 in batch.offsets else None,
        limits=LIMITS,
        subjects=[f"s{n}" for n in range(300)],
    )

    harness.run(max_s=30 * 3600)

    assert not harness.total.dead


def test_refused_event_keeps_the_vendors_answer_and_its_first_error() -> None:
    lanes = filled(1)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, ConnectionResetError("reset"), now=0.0)
    (work,) = lanes.next_batches(10.0)

    lanes.complete(work, Rejected("422: no name").answered(422, "no name"), now=10.0)

    (dead,) = lanes.progress().dead
    assert (dead.reason, dead.first_error) == ("422: no name", "ConnectionResetError: reset")
    assert (dead.status, dead.response, dead.attempts, dead.stage) == (422, "no name", 2, Stage.REJECTED)


@pytest.mark.parametrize("per_s", [0.5, 7.0, 100.0])
def test_rate_limit_holds_for_everything_that_goes_out(per_s: float) -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if now < 20 else None, limits=LIMITS, subjects=SUBJECTS[:400], rate_per_s=per_s
    )

    total = harness.run()

    assert total.delivered == 400
    sent = 0
    for at, offsets in harness.calls:
        sent += len(offsets)
        assert sent <= max(1.0, per_s) + at * per_s + 1e-3


def test_rate_limited_backlog_goes_out_in_large_calls() -> None:
    harness = Harness(lambda batch, now: None, limits=LIMITS, subjects=SUBJECTS[:1_000], rate_per_s=50.0)

    harness.run()

    assert len(harness.calls) <= 1_000 / 50 * 2
