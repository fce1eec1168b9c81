from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.breaker import ALONE_FAILURES, CLOSING_SUCCESSES, OPEN_CAP_S, Breaker, BreakerState
from sluicegate.delivery.restraint import Outage


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


def successor(breaker: Breaker, now: float) -> Breaker:
    """The breaker of the next process."""
    heir = Breaker(100)
    if breaker.outage is not None:
        heir.resume(breaker.outage, now=now)
    return heir


def test_next_process_waits_for_the_end_of_the_open_time_and_then_longer_if_its_probe_fails() -> None:
    breaker = opened()
    breaker.admits(60.0)
    breaker.failed(3, now=60.0)

    heir = successor(breaker, now=100.0)

    assert (heir.state, heir.until) == (BreakerState.OPEN, 180.0)
    assert not heir.admits(179.9)
    assert heir.admits(180.0)
    assert heir.max_events == 1
    heir.failed(4, now=180.0)
    assert heir.until == 180.0 + 240.0


def test_process_that_takes_over_from_a_half_open_breaker_sends_a_single_event_at_once() -> None:
    breaker = opened()
    breaker.admits(60.0)
    breaker.succeeded()

    heir = successor(breaker, now=61.0)

    assert heir.admits(61.0)
    assert (heir.state, heir.max_events) == (BreakerState.HALF_OPEN, 1)


def test_closed_breaker_leaves_nothing_to_the_next_process() -> None:
    breaker = opened(1)
    breaker.admits(60.0)

    breaker.succeeded()

    assert breaker.outage is None


def test_clock_that_was_set_back_prolongs_no_outage() -> None:
    heir = Breaker(100)

    heir.resume(Outage(until=90_000.0, open_s=120.0, general=True), now=0.0)

    assert heir.until == 120.0


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "wait", "die"]), st.integers(1, 3)), max_size=200))
def test_deaths_never_let_out_a_call_that_one_long_life_would_not_have_made(steps: list[tuple[str, int]]) -> None:
    """`lived` never dies; `dying` does now and then, and both see the same calls."""
    lived, dying, now = opened(), opened(), 0.0
    for what, number in steps:
        if what == "wait":
            now += number * 25.0
        elif what == "die" and dying.state is not BreakerState.CLOSED:
            dying = successor(dying, now)
        admitted = lived.admits(now), dying.admits(now)
        assert admitted[0] or not admitted[1]
        assert lived.state is not BreakerState.HALF_OPEN or dying.max_events <= lived.max_events
        assert lived.general is dying.general
        if what in ("ok", "fail") and all(admitted):
            for breaker in (lived, dying):
                if what == "ok":
                    breaker.succeeded()
                else:
                    breaker.failed(number, now=now)
        if BreakerState.CLOSED in (lived.state, dying.state):
            break  # what is in the window of a closed breaker is not kept
