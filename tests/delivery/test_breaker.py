from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.breaker import ALONE_FAILURES, CLOSING_SUCCESSES, OPEN_CAP_S, Breaker, BreakerState


def opened(max_events: int = 100, *, now: float = 0.0) -> Breaker:
    breaker = Breaker(max_events)
    for offset in range(10):
        breaker.failed(offset, now=now)
    return breaker


def test_breaker_opens_at_ten_failures_and_not_before() -> None:
    breaker = Breaker(100)

    for offset in range(9):
        breaker.failed(offset, now=1.0)
        assert breaker.admits(1.0)
    breaker.failed(9, now=1.0)

    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits(60.9)


def test_breaker_opens_when_half_of_the_last_hundred_calls_failed() -> None:
    breaker = Breaker(100)
    for _ in range(1_000):
        breaker.succeeded()

    states = []
    for offset in range(50):
        breaker.failed(offset, now=1.0)
        states.append(breaker.state)

    assert states == [BreakerState.CLOSED] * 49 + [BreakerState.OPEN]


def test_open_time_doubles_with_each_failed_probe_to_its_cap() -> None:
    breaker = opened()
    lengths = [breaker.until]
    for offset in range(5):
        now = breaker.until
        assert breaker.admits(now)
        breaker.failed(offset, now=now)
        lengths.append(breaker.until - now)

    assert lengths == [60.0, 120.0, 240.0, OPEN_CAP_S, OPEN_CAP_S, OPEN_CAP_S]


def test_half_open_breaker_lets_out_one_event_and_then_twice_as_many_each_time() -> None:
    breaker = opened()
    breaker.admits(60.0)

    sizes = []
    while breaker.state is BreakerState.HALF_OPEN:
        sizes.append(breaker.max_events)
        breaker.succeeded()

    assert sizes == [1, 2, 4, 8, 16, 32, 64, 100]
    assert breaker.max_events == 100


def test_half_open_breaker_closes_after_ten_successes_however_large_a_batch_is() -> None:
    breaker = opened(100_000)
    breaker.admits(60.0)

    for _ in range(CLOSING_SUCCESSES):
        assert breaker.state is BreakerState.HALF_OPEN
        breaker.succeeded()

    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == (0, 0)


def test_closed_again_it_begins_with_the_shortest_time() -> None:
    breaker = opened(1)
    breaker.admits(60.0)
    breaker.failed(1, now=60.0)
    breaker.admits(180.0)
    breaker.succeeded()

    for offset in range(10):
        breaker.failed(offset, now=200.0)

    assert breaker.until == 260.0


def test_time_stands_still_while_it_is_open_for_more_than_one_event() -> None:
    breaker = opened(now=5.0)

    assert breaker.general
    assert [breaker.stopped_s(now) for now in (5.0, 25.0, 65.0)] == [0.0, 20.0, 60.0]
    breaker.admits(70.0)
    assert breaker.stopped_s(500.0) == 65.0


def test_time_goes_on_when_all_failures_are_of_one_event() -> None:
    breaker = Breaker(100)
    for now in range(10):
        breaker.failed(7, now=float(now))

    assert breaker.state is BreakerState.OPEN
    assert breaker.suspects_one_event
    assert breaker.stopped_s(40.0) == 0.0


def test_event_that_alone_is_tried_again_and_again_is_suspected_although_others_failed_before() -> None:
    breaker = Breaker(100)
    breaker.failed(6, now=0.0)
    for now in range(ALONE_FAILURES - 1):
        breaker.failed(7, now=float(now))
    assert breaker.general

    breaker.failed(7, now=10.0)

    assert breaker.suspects_one_event
    breaker.failed(8, now=11.0)
    assert breaker.general


def test_success_ends_the_suspicion() -> None:
    breaker = Breaker(100)
    breaker.failed(7, now=0.0)
    breaker.failed(8, now=0.0)
    assert breaker.general

    breaker.succeeded()

    assert not breaker.general
    assert not breaker.suspects_one_event


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.integers(0, 3)), max_size=300), st.integers(1, 500))
def test_no_more_than_its_window_is_needed_to_stop_a_vendor_that_fails(
    calls: list[tuple[bool, float, int]], limit: int
) -> None:
    breaker, now = Breaker(limit), 0.0
    for ok, wait, offset in calls:
        now += wait
        if not breaker.admits(now):
            assert now < breaker.until <= now + OPEN_CAP_S
            continue
        assert 1 <= breaker.max_events <= limit
        before = breaker.stopped_s(now)
        if ok:
            breaker.succeeded()
        else:
            breaker.failed(offset, now=now)
        n_failed, n_calls = breaker.failures
        if not ok and breaker.state is BreakerState.CLOSED:
            assert n_calls < 10 or n_failed < n_calls / 2 or not n_failed
        assert breaker.stopped_s(now) == pytest.approx(before)
