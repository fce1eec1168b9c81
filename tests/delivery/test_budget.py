from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.budget import CAPACITY, REFILL_PER_S, THROTTLED_COST, TRANSIENT_COST, RetryBudget

costs = st.sampled_from([TRANSIENT_COST, THROTTLED_COST])


def drained(now: float = 0.0) -> RetryBudget:
    budget = RetryBudget()
    while budget.take(THROTTLED_COST, now=now):
        pass
    return budget


def test_full_budget_pays_for_thirty_five_transient_retries() -> None:
    budget = RetryBudget()

    paid = sum(budget.take(TRANSIENT_COST, now=0.0) for _ in range(100))

    assert paid == 35


def test_empty_budget_says_when_it_will_do_and_then_does() -> None:
    budget = drained()

    at = budget.ready_at(TRANSIENT_COST, now=0.0)

    assert not budget.take(TRANSIENT_COST, now=at - 0.01)
    assert budget.take(TRANSIENT_COST, now=at)


def test_successful_retry_pays_for_the_next() -> None:
    budget = drained()
    budget.give(TRANSIENT_COST, now=0.0)

    assert budget.take(TRANSIENT_COST, now=0.0)


def test_budget_never_holds_more_than_its_capacity() -> None:
    budget = RetryBudget()
    budget.give(1e9, now=0.0)

    assert sum(budget.take(TRANSIENT_COST, now=1e9) for _ in range(100)) == 35


@given(st.lists(st.tuples(st.floats(0, 100), costs), max_size=400))
def test_retries_in_any_time_stay_within_the_budget(tries: list[tuple[float, int]]) -> None:
    budget, now, spent = RetryBudget(), 0.0, 0.0
    for wait, cost in tries:
        now += wait
        spent += cost * budget.take(cost, now=now)

    assert spent <= CAPACITY + now * REFILL_PER_S + 1e-3


@given(st.lists(st.tuples(st.floats(0, 1000), costs), max_size=50))
def test_waiting_as_long_as_told_always_helps(tries: list[tuple[float, int]]) -> None:
    budget, now = drained(), 0.0
    for wait, cost in tries:
        now = max(now + wait, budget.ready_at(cost, now=now + wait))
        assert budget.take(cost, now=now)


def test_next_process_goes_on_with_what_was_left_and_what_time_has_added_since() -> None:
    budget = drained(now=100.0)
    heir = RetryBudget(now=130.0)

    heir.resume(budget.left(100.0), at=100.0, now=130.0)

    assert heir.left(130.0) == budget.left(130.0)
    assert heir.take(TRANSIENT_COST, now=130.0)


def test_budget_of_a_time_to_come_is_that_of_now() -> None:
    heir = RetryBudget()

    heir.resume(3.0, at=5_000.0, now=10.0)

    assert heir.left(10.0) == 3.0
    assert heir.left(20.0) == 3.0 + 10 * REFILL_PER_S


def test_full_budget_stays_full_in_the_next_process() -> None:
    heir = RetryBudget()

    heir.resume(float("inf"), at=0.0, now=0.0)

    assert heir.left(0.0) == CAPACITY
