"""What a reader of events notes of what subjects told, and when it must look again."""

from __future__ import annotations

import pytest

from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.settled import SettledOnes
from sluicegate.consent.subject import Subject
from tests.consent.conftest import OpenView

NOW_MS = 1_000
UNTIL_MS = 2_000
GRANTED, DENIED = (("marketing", True),), (("marketing", False),)
ANNE = ["anne"], ["phone"]
BOB = ["bob"], ["laptop"]


def noted(*subjects: tuple[list[str], list[str]], token: object = GRANTED) -> SettledOnes:
    ones = SettledOnes()
    for user_ids, anonymous_ids in subjects:
        ones.note(user_ids, anonymous_ids, [token], until_ms=UNTIL_MS)
    return ones


def test_who_told_the_same_last_is_covered_together_with_others_until_it_is_time() -> None:
    ones = noted(ANNE, BOB)

    assert ones.cover(["bob", "anne"], ["laptop", "phone"], [GRANTED, GRANTED], now_ms=UNTIL_MS)
    assert not ones.cover(*ANNE, [GRANTED], now_ms=UNTIL_MS + 1)
    assert not ones.cover(*ANNE, [GRANTED], now_ms=UNTIL_MS)


def test_the_first_that_is_due_makes_all_be_looked_at() -> None:
    ones = noted(ANNE)
    ones.note(*BOB, [GRANTED], until_ms=UNTIL_MS + 500)

    assert not ones.cover(*BOB, [GRANTED], now_ms=UNTIL_MS + 1)


def test_tokens_are_known_by_their_identity() -> None:
    ones = noted(ANNE)

    assert not ones.cover(*ANNE, [DENIED], now_ms=NOW_MS)
    assert not ones.cover(*ANNE, [tuple(list(GRANTED))], now_ms=NOW_MS)


@pytest.mark.parametrize("subject", [(["anne"], ["tablet"]), (["bob"], ["phone"]), ([None], ["phone"])])
def test_who_was_not_noted_is_not_covered(subject: tuple[list[str | None], list[str | None]]) -> None:
    assert not noted(ANNE).cover(*subject, [GRANTED], now_ms=NOW_MS)


def test_a_device_that_had_another_user_last_is_looked_at() -> None:
    ones = noted(ANNE, (["bob"], ["phone"]))

    assert not ones.cover(*ANNE, [GRANTED], now_ms=NOW_MS)
    assert ones.cover(["bob"], ["phone"], [GRANTED], now_ms=NOW_MS)


@pytest.mark.parametrize("changed", [Subject(user_id="anne"), Subject(anonymous_id="phone"), Subject("anne", "phone")])
def test_a_change_in_the_ledger_is_looked_at_and_of_nobody_else(
    ledger: Ledger, open_view: OpenView, changed: Subject
) -> None:
    view = open_view()
    view.of_many([Subject("anne", "phone"), Subject("bob", "laptop")])
    for subject in (ANNE, BOB):
        view.settled_ones.note(*subject, [GRANTED], until_ms=UNTIL_MS)

    denies = decision({"marketing": False}, NOW_MS, received_ms=NOW_MS)
    ledger.record([Told(changed, denies, Evidence.API)], now_ms=NOW_MS)
    view.refresh()

    assert not view.settled_ones.cover(*ANNE, [GRANTED], now_ms=NOW_MS)
    assert view.settled_ones.cover(*BOB, [GRANTED], now_ms=NOW_MS)


def test_who_is_not_remembered_any_more_is_looked_at(open_view: OpenView) -> None:
    view = open_view(max_remembered=2)
    view.of_many([Subject("anne", "phone")])
    view.settled_ones.note(*ANNE, [GRANTED], until_ms=UNTIL_MS)

    for number in range(4):
        view.of_many([Subject(user_id=f"user {number}")])

    assert not view.settled_ones.cover(*ANNE, [GRANTED], now_ms=NOW_MS)
