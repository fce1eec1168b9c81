from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.pacing import MAX_PACE_S, PACE_S, pace_s


def test_singles_that_come_slowly_are_delivered_at_the_usual_pace() -> None:
    assert pace_s(8, 0.004, goal=75) == PACE_S
    assert pace_s(0, 0.0, goal=75) == PACE_S


def test_busy_cycles_become_as_large_as_they_should_be() -> None:
    n_events, period_s = 40, 0.004

    pace = pace_s(n_events, period_s, goal=75)

    assert pace * n_events / period_s == 75


def test_destination_that_takes_few_events_at_a_time_keeps_the_usual_pace() -> None:
    assert pace_s(40, 0.004, goal=4) == PACE_S


@given(st.integers(0, 1_000_000), st.one_of(st.floats(0, 1e6), st.just(float("inf"))), st.floats(0, 1e5))
def test_pace_has_bounds(n_events: int, period_s: float, goal: float) -> None:
    assert PACE_S <= pace_s(n_events, period_s, goal=goal) <= MAX_PACE_S
