"""What a reader notes of subjects that nothing is against, and when it must be asked again."""

from __future__ import annotations

import pytest

from sluicegate.consent.evidence import Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from tests.consent.conftest import OpenView

NOW_MS = 1_000
ANNE_ON_PHONE = Subject("anne", "phone")
BOB = Subject(user_id="bob")


def are_clear(view: LedgerView, *subjects: Subject) -> bool:
    return view.are_clear([one.user_id for one in subjects], [one.anonymous_id for one in subjects])


def denies(subject: Subject) -> Told:
    return Told(subject, decision({"marketing": False}, NOW_MS, received_ms=NOW_MS), Evidence.API)


def test_nobody_is_clear_who_was_not_noted(open_view: OpenView) -> None:
    view = open_view()
    view.of_many([ANNE_ON_PHONE, BOB])

    view.note_clear([ANNE_ON_PHONE])

    assert are_clear(view, ANNE_ON_PHONE)
    assert not are_clear(view, ANNE_ON_PHONE, BOB)


@pytest.mark.parametrize("changed", [Subject(user_id="anne"), Subject(anonymous_id="phone"), ANNE_ON_PHONE])
def test_a_change_of_either_id_is_looked_at_and_of_nobody_else(
    ledger: Ledger, open_view: OpenView, changed: Subject
) -> None:
    view = open_view()
    view.of_many([ANNE_ON_PHONE, BOB])
    view.note_clear([ANNE_ON_PHONE, BOB])

    ledger.record([denies(changed)], now_ms=NOW_MS)
    view.refresh()

    assert not are_clear(view, ANNE_ON_PHONE)
    assert are_clear(view, BOB)


def test_a_change_of_the_user_that_a_visitor_turned_out_to_be_is_looked_at(ledger: Ledger, open_view: OpenView) -> None:
    phone = Subject(anonymous_id="phone")
    ledger.record([Link(phone, "anne", NOW_MS)], now_ms=NOW_MS)
    view = open_view()
    view.of_many([phone])
    view.note_clear([phone])

    ledger.record([denies(Subject(user_id="anne"))], now_ms=NOW_MS)
    view.refresh()

    assert not are_clear(view, phone)


def test_who_is_not_remembered_any_more_is_not_clear(open_view: OpenView) -> None:
    view = open_view(max_remembered=2)
    view.of_many([ANNE_ON_PHONE])
    view.note_clear([ANNE_ON_PHONE])

    for number in range(4):
        view.of_many([Subject(user_id=f"user {number}")])

    assert not are_clear(view, ANNE_ON_PHONE)


def test_a_visitor_without_a_known_user_is_not_taken_for_clear(open_view: OpenView) -> None:
    view = open_view()
    view.of_many([ANNE_ON_PHONE])

    view.note_clear([ANNE_ON_PHONE])

    assert not are_clear(view, Subject(anonymous_id="tablet"))
    assert not are_clear(view, Subject(anonymous_id="phone"))


def test_a_device_of_two_users_is_clear_for_both(ledger: Ledger, open_view: OpenView) -> None:
    bob_on_phone = Subject("bob", "phone")
    view = open_view()
    view.of_many([ANNE_ON_PHONE, bob_on_phone])
    view.note_clear([ANNE_ON_PHONE, bob_on_phone])
    assert are_clear(view, ANNE_ON_PHONE, bob_on_phone)

    ledger.record([denies(BOB)], now_ms=NOW_MS)
    view.refresh()

    assert are_clear(view, ANNE_ON_PHONE)
    assert not are_clear(view, bob_on_phone)


def test_who_is_forgotten_by_the_look_that_finds_them_clear_is_not_clear(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view(max_remembered=2)
    others = [Subject(user_id=f"user {number}") for number in range(4)]
    view.of_many([ANNE_ON_PHONE])
    view.of_many(others[:2])
    together = [ANNE_ON_PHONE, *others]
    view.of_many(together)
    view.note_clear(together)

    ledger.record([denies(ANNE_ON_PHONE)], now_ms=NOW_MS)
    view.refresh()

    assert not are_clear(view, ANNE_ON_PHONE)
