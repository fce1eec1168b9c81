from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.rate import RateLimit

rates = st.floats(0.01, 10_000)


def test_one_seconds_worth_goes_out_at_once_and_then_no_more() -> None:
    rate = RateLimit(100.0)

    rate.take(100, now=5.0)

    assert rate.ready_at(1, now=5.0) == 5.01
    assert rate.ready_at(50, now=5.0) == 5.5


def test_less_than_one_a_second_still_lets_out_single_events() -> None:
    rate = RateLimit(0.5)
    rate.take(1, now=0.0)

    assert rate.max_events == 1
    assert rate.ready_at(1, now=0.0) == 2.0


@given(rates, st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=200))
def test_what_goes_out_when_it_may_stays_within_the_rate(per_s: float, calls: list[tuple[float, int]]) -> None:
    rate, now, sent = RateLimit(per_s), 0.0, []
    for wait, size in calls:
        n_events = min(size, rate.max_events)
        now = max(now + wait, rate.ready_at(n_events, now=now + wait))
        rate.take(n_events, now=now)
        sent.append((now, n_events))

    for index, (first, _) in enumerate(sent):
        total = 0
        for at, n_events in sent[index:]:
            total += n_events
            assert total <= max(1.0, per_s) + (at - first) * per_s + 1e-3
