import random

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.backoff import backoff_s

ALMOST_ONE = 1.0 - 2**-53


def test_ceiling_doubles_until_the_cap() -> None:
    waits = [backoff_s(n, base_s=1.0, cap_s=10.0, random=lambda: ALMOST_ONE) for n in range(6)]

    assert [round(wait, 6) for wait in waits] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_wait_may_be_anything_down_to_zero() -> None:
    assert backoff_s(5, base_s=1.0, cap_s=300.0, random=lambda: 0.0) == 0.0
    assert backoff_s(5, base_s=1.0, cap_s=300.0, random=lambda: 0.5) == 16.0


@given(
    attempt=st.integers(-5, 10**9),
    base_s=st.floats(0.001, 1e3),
    cap_s=st.floats(0.001, 1e5),
    seed=st.integers(0, 2**32),
)
def test_wait_is_never_negative_and_never_above_the_cap(attempt: int, base_s: float, cap_s: float, seed: int) -> None:
    wait_s = backoff_s(attempt, base_s=base_s, cap_s=cap_s, random=random.Random(seed).random)

    assert 0.0 <= wait_s <= cap_s
