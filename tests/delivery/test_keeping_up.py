from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.keeping_up import BEHIND_S, KeepingUp


def looks(found: KeepingUp, *seen: tuple[int, int, float]) -> list[bool]:
    """Whether it keeps up after each look: how far it has come, how far the log goes, and when."""
    keeps_up = []
    for reached, head, now in seen:
        found.look(reached, head, now)
        keeps_up.append(found.keeps_up)
    return keeps_up


def test_reader_that_is_soon_where_the_log_ended_keeps_up_although_the_log_goes_on() -> None:
    found = KeepingUp()

    assert looks(found, (0, 100, 0.0), (100, 200, 0.02), (210, 300, 0.04)) == [False, True, True]


def test_reader_with_a_backlog_is_behind_until_it_is_through_with_it() -> None:
    found = KeepingUp()
    backlog = [(at * 10_000, 1_000_000 + at, at * 0.1) for at in range(100)]

    behind = looks(found, *backlog)
    at_its_end = looks(found, (1_000_000, 1_000_200, 10.0), (1_000_200, 1_000_300, 10.1))

    assert behind == [False] * 100
    assert at_its_end == [False, True]


def test_reader_that_falls_behind_is_told_while_it_is() -> None:
    found = KeepingUp()
    looks(found, (0, 10, 0.0), (10, 20, 0.01), (20, 5_000, 0.02))

    assert looks(found, (100, 6_000, 0.1), (200, 7_000, 0.02 + BEHIND_S)) == [True, False]


def test_reader_that_has_slept_at_the_end_of_the_log_keeps_up() -> None:
    found = KeepingUp()

    assert looks(found, (10, 10, 0.0), (10, 10, 2.0), (10, 30, 60.0), (30, 30, 60.01)) == [True] * 4


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1)), max_size=40))
def test_change_is_told_exactly_when_there_is_one(steps: list[tuple[int, int, float]]) -> None:
    found, reached, head, now = KeepingUp(), 0, 0, 0.0
    for n_written, n_read, wait_s in steps:
        head += n_written
        reached = min(head, reached + n_read)
        now += wait_s
        before = found.keeps_up

        assert found.look(reached, head, now) == (found.keeps_up != before)
        assert found.keeps_up or reached < head
