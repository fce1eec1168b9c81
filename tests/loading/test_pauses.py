from __future__ import annotations

from sluicegate.loading.effects import PersistPause
from sluicegate.loading.pauses import OPERATOR, by_operator, in_words, is_operators, is_refused, without_refusal
from sluicegate.loading.status import State
from tests.loading.driver import Driver


def test_operators_pause_keeps_the_vendors_reason_beside_it() -> None:
    both = by_operator("401 from the vendor")

    assert both.startswith(OPERATOR) and "401 from the vendor" in both
    assert is_operators(both) and is_refused(both)
    assert by_operator(both) == both
    assert by_operator(None) == by_operator(OPERATOR) == OPERATOR
    assert not is_refused(OPERATOR)


def test_what_is_left_without_the_refusal_is_the_operators_pause() -> None:
    assert without_refusal("401") is None
    assert without_refusal(by_operator("401")) == OPERATOR


def test_words_do_not_say_paused_twice() -> None:
    assert in_words(OPERATOR) == "paused by an operator"
    assert in_words("401") == "paused: 401"


def test_refusal_that_comes_while_an_operator_pauses_is_kept_beside() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.pause("a", now=driver.now, reason=OPERATOR)

    effects = driver.table.halted("a", 1, now=driver.now, reason="401")

    assert effects == [PersistPause("a", by_operator("401"))]
    assert driver.state("a") is State.DRAINING
    assert driver.table.status("a").error == "401"


def test_refused_credentials_count_as_failed_and_an_operators_pause_does_not() -> None:
    driver = Driver("a", "b")
    driver.load("a", "b")

    driver.table.halted("a", 1, now=driver.now, reason="401")
    driver.exit("a")
    driver.table.pause("b", now=driver.now, reason=OPERATOR)
    driver.exit("b")
    before = driver.table.stats().failed
    driver.table.pause("a", now=driver.now, reason=by_operator("401"))
    after = driver.table.stats().failed

    assert (before, after) == (1, 0)
