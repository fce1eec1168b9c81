from __future__ import annotations

from sluicegate.gateway.company import FIRST, LEAST, MOST, Company

COMMIT_S = 0.001


def commit(company: Company, *arrivals_s: float) -> int:
    """How many of the requests that arrive at these times make one commit; the first begins it."""
    company.begin(arrivals_s[0], commit_s=COMMIT_S)
    now = arrivals_s[0]
    while company.is_awaited(sum(at <= now for at in arrivals_s), now):
        now += COMMIT_S / 100
    return sum(at <= now for at in arrivals_s)


def test_first_commit_waits_for_nobody() -> None:
    assert commit(Company(), 0.0, 0.0001) == 1


def test_clients_that_were_answered_together_share_the_next_commit() -> None:
    company = Company()
    commit(company, 0.0, 0.0)

    assert commit(company, 1.0, 1.0 + FIRST * COMMIT_S / 2) == 2


def test_nobody_is_waited_for_longer_than_a_part_of_a_commit() -> None:
    company = Company()
    commit(company, 0.0, 0.0)

    assert commit(company, 1.0, 1.0 + FIRST * COMMIT_S * 2) == 1


def test_each_that_comes_is_waited_for_anew() -> None:
    company = Company()
    commit(company, *[0.0] * 4)

    step = 0.7 * FIRST * COMMIT_S

    assert commit(company, *[1.0 + number * step for number in range(4)]) == 4


def test_all_of_them_are_waited_for_no_longer_than_a_commit_takes() -> None:
    company = Company()
    commit(company, *[0.0] * 20)

    step = 0.7 * FIRST * COMMIT_S

    assert commit(company, *[1.0 + number * step for number in range(20)]) == 1 + int(COMMIT_S / step)


def test_waiting_that_is_worth_it_becomes_longer_up_to_a_whole_commit() -> None:
    company = Company()
    commit(company, 0.0, 0.0)

    for number in range(1, 10):
        commit(company, float(number), number + FIRST * COMMIT_S / 2)

    assert company.share == MOST
    assert commit(company, 20.0, 20.0 + 0.9 * COMMIT_S) == 2


def test_waiting_in_vain_becomes_short() -> None:
    company = Company()

    for number in range(10):
        commit(company, 2.0 * number, 2.0 * number)
        commit(company, 2.0 * number + 1)

    assert company.share == LEAST
