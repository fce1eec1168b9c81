from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from sluicegate.consent.as_of import LedgerPast
from sluicegate.consent.evidence import Evidence, Told, decision, withdrawal
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.stamp import MAX_CATEGORIES
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules
from sluicegate.consent.store import MAX_LEARNED
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import PURPOSES_OF_ONE, LedgerView
from tests.consent.conftest import OpenView
from tests.consent.saying import ANNE, ANNE_ON_PHONE, LAPTOP, NOW_MS, PHONE, D, G, U, alias, identify, seen, state, told


def test_what_was_told_is_known_and_nothing_else(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()

    recorded = ledger.record([told(ANNE, True, 5)], now_ms=NOW_MS)

    assert (state(view, ANNE), state(view, ANNE, "measurement"), state(view, PHONE)) == (G, U, U)
    assert recorded.version == view.version == ledger.version() == 1


def test_statement_31_a_ledger_opened_again_knows_what_it_knew(ledger: Ledger, open_view: OpenView) -> None:
    ledger.record([told(ANNE, False, 5)], now_ms=NOW_MS)
    ledger.close()

    again = Ledger(ledger.path, ledger.path.with_name("consent.key"))
    again.record([told(ANNE, True, 4)], now_ms=NOW_MS)
    again.close()

    assert state(open_view(), ANNE) is D


def test_statement_25_repetition_and_reverse_order_come_to_the_same(tmp_path: Path) -> None:
    evidence = [told(ANNE, True, 5), told(ANNE, False, 5), told(ANNE, True, 3), told(ANNE, True, 5)]
    outcomes = set()
    for number, ordered in enumerate(itertools.permutations(evidence)):
        ledger = Ledger(tmp_path / f"{number}.db", tmp_path / f"{number}.key")
        for entry in ordered:
            ledger.record([entry], now_ms=NOW_MS)
        view = LedgerView(ledger.path, tmp_path / f"{number}.key", Rules())
        outcomes.add(state(view, ANNE))
        view.close()
        ledger.close()

    assert outcomes == {D}


def test_what_is_known_already_changes_nothing(ledger: Ledger) -> None:
    first = ledger.record([told(ANNE, True, 5)], now_ms=NOW_MS)

    second = ledger.record([told(ANNE, True, 5), told(ANNE, False, 4)], now_ms=NOW_MS)

    assert (second.version, second.changed) == (first.version, frozenset())


def test_statement_26_a_clock_a_year_ahead_does_not_outlast_a_withdrawal(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(ANNE, True, NOW_MS + 31_536_000_000)], now_ms=NOW_MS)

    ledger.record([Told(ANNE, withdrawal(("marketing",), at_ms=NOW_MS), Evidence.OPERATOR)], now_ms=NOW_MS)

    assert state(view, ANNE) is D


@pytest.mark.parametrize("said_by", [Evidence.API, Evidence.OPERATOR, Evidence.STAMP])
def test_denial_outlasts_a_grant_that_our_own_clock_has_dated_too_late(
    ledger: Ledger, open_view: OpenView, said_by: Evidence
) -> None:
    view, ahead_ms = open_view(), NOW_MS + 3_600_000
    granted = decision({"marketing": True}, ahead_ms, received_ms=ahead_ms)
    ledger.record([Told(ANNE_ON_PHONE, granted, Evidence.API)], now_ms=ahead_ms)

    denied = {
        Evidence.API: told(ANNE_ON_PHONE, False, NOW_MS),
        Evidence.OPERATOR: Told(ANNE_ON_PHONE, withdrawal(("marketing",), at_ms=NOW_MS), Evidence.OPERATOR),
        Evidence.STAMP: seen(ANNE_ON_PHONE, False, NOW_MS),
    }
    ledger.record([denied[said_by]], now_ms=NOW_MS)

    assert state(view, PHONE) is D
    past = LedgerPast(ledger.path, ledger.path.with_name("consent.key"), Rules())
    then = past.of(PHONE, ledger.version(), gpc=True, now_ms=NOW_MS)
    past.close()
    assert then.standings.of("marketing").state is D
    if said_by is not Evidence.STAMP:  # which is known of the device alone
        assert (state(view, ANNE), state(view, ANNE_ON_PHONE)) == (D, D)


def test_statement_40_the_user_inherits_what_the_visitor_decided(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE, True, 5), identify("phone", "anne")], now_ms=NOW_MS)

    assert (state(view, ANNE), state(view, ANNE_ON_PHONE), state(view, Subject("anne", "laptop"))) == (G, G, G)


@pytest.mark.parametrize("refused_by", [PHONE, ANNE])
@pytest.mark.parametrize("linked_first", [True, False])
def test_statement_40_a_newer_denial_on_either_id_blocks_both(
    ledger: Ledger, open_view: OpenView, refused_by: Subject, linked_first: bool
) -> None:
    view = open_view()
    entries: list[Any] = [told(ANNE_ON_PHONE, True, 5), told(refused_by, False, 6)]
    entries.insert(0 if linked_first else 2, identify("phone", "anne"))

    ledger.record(entries, now_ms=NOW_MS)

    assert (state(view, ANNE), state(view, PHONE), state(view, ANNE_ON_PHONE)) == (D, D, D)


def test_statement_40_a_new_visitor_starts_undecided(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE, True, 5), identify("phone", "anne")], now_ms=NOW_MS)

    assert state(view, Subject(anonymous_id="phone after reset")) is U


def test_statement_40_an_alias_passes_consent_on_from_user_and_visitor(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE, False, 5), identify("phone", "old"), alias("old", "new")], now_ms=NOW_MS)

    ledger.record([told(Subject("old"), True, 7)], now_ms=NOW_MS)

    assert (state(view, Subject("new")), state(view, Subject("old")), state(view, PHONE)) == (G, G, G)


@pytest.mark.parametrize("at_ms", [-1, 1 << 60])
def test_links_of_an_odd_time_are_links(ledger: Ledger, open_view: OpenView, at_ms: int) -> None:
    ledger.record([identify("phone", "anne", at_ms), told(ANNE, False, 5)], now_ms=NOW_MS)

    assert state(open_view(), PHONE) is D


def test_links_in_a_circle_end(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([alias("a", "b", 1), alias("b", "c", 2), alias("c", "a", 3), told(Subject("b"), False, 5)], now_ms=9)

    assert {state(view, Subject(name)) for name in "abc"} == {D}


def test_a_visitor_belongs_to_the_user_it_was_last_identified_as(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([identify("phone", "anne", 9), identify("phone", "ben", 5)], now_ms=NOW_MS)

    ledger.record([told(Subject("ben"), False, 5)], now_ms=NOW_MS)

    assert (state(view, PHONE), state(view, Subject("ben", "phone"))) == (U, D)


def test_a_user_of_a_visitor_that_is_told_late_gets_nothing_that_the_next_one_decided(
    ledger: Ledger, open_view: OpenView
) -> None:
    view = open_view()
    ledger.record([told(PHONE, True, 2, purpose="measurement"), identify("phone", "anne", 5)], now_ms=NOW_MS)
    ledger.record([told(PHONE, True, 6)], now_ms=NOW_MS)

    ledger.record([identify("phone", "ben", 3)], now_ms=NOW_MS)

    ben = Subject("ben")
    assert (state(view, ANNE), state(view, ben), state(view, ben, "measurement")) == (G, U, G)


def test_what_one_device_was_seen_to_say_does_not_count_for_another(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([identify("phone", "anne"), identify("laptop", "anne"), told(ANNE, True, 5)], now_ms=NOW_MS)

    ledger.record([seen(ANNE_ON_PHONE, False, 9)], now_ms=NOW_MS)

    assert (state(view, ANNE_ON_PHONE), state(view, Subject("anne", "laptop")), state(view, LAPTOP)) == (D, G, G)


def test_statement_41_a_user_and_a_visitor_of_the_same_id_are_two(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(Subject(user_id="7"), True, 5)], now_ms=NOW_MS)

    assert state(view, Subject(anonymous_id="7")) is U


def test_statement_41_nobody_has_no_entry(ledger: Ledger, open_view: OpenView) -> None:
    recorded = ledger.record([told(Subject(), True, 5), told(Subject("", ""), True, 5)], now_ms=NOW_MS)

    assert recorded.version == 0
    assert open_view().of(Subject()) is UNKNOWN_SUBJECT


def test_readers_learn_whose_consent_has_changed(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    assert view.refresh() is None

    ledger.record([told(ANNE, True, 5), told(PHONE, True, 5)], now_ms=NOW_MS)
    changes = view.refresh()

    assert changes is not None
    assert changes == (2, frozenset(ledger.keys.of(ANNE) + ledger.keys.of(PHONE)))
    assert view.refresh() is None


def test_what_is_remembered_changes_with_the_owner_of_an_id(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([identify("phone", "anne"), told(ANNE, True, 5)], now_ms=NOW_MS)
    before = state(view, PHONE)

    ledger.record([told(ANNE, False, 6)], now_ms=NOW_MS)

    assert (before, state(view, PHONE)) == (G, D)


def test_many_subjects_are_looked_up_at_once(ledger: Ledger, open_view: OpenView) -> None:
    subjects = [Subject(f"user {n}", f"visitor {n}") for n in range(700)]
    ledger.record([told(subject, n % 2 == 0, 5) for n, subject in enumerate(subjects[:600])], now_ms=NOW_MS)
    view = open_view()

    known = view.of_many(subjects + subjects)

    states = [one.standings(gpc=True, now_ms=NOW_MS).of("marketing").state for one in known]
    assert states[:600] == [G, D] * 300
    assert states[600:700] == [U] * 100
    assert states[700:] == states[:700]


def test_more_subjects_than_can_be_remembered_are_still_right(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view(max_remembered=10)
    subjects = [Subject(f"user {n}") for n in range(100)]
    ledger.record([told(subject, True, 5) for subject in subjects], now_ms=NOW_MS)
    assert {state(view, subject) for subject in subjects} == {G}

    ledger.record([told(subject, False, 6) for subject in subjects], now_ms=NOW_MS)

    assert {state(view, subject) for subject in subjects} == {D}


def test_clients_cannot_fill_the_ledger_with_names(ledger: Ledger, open_view: OpenView) -> None:
    for start in range(0, MAX_LEARNED + 200, 100):
        purposes = {f"purpose {n}": True for n in range(start, start + 100)}
        subject = Subject(f"user {start}")
        ledger.record([Told(subject, decision(purposes, 5, received_ms=9), Evidence.API, f"s{start}")], now_ms=9)

    ledger.record([told(ANNE, True, 5)], now_ms=NOW_MS)

    assert state(open_view(), ANNE) is G
    assert len(ledger.names.known) <= MAX_LEARNED + MAX_CATEGORIES


def test_fewer_subjects_of_many_purposes_are_remembered(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view(max_remembered=20)
    everybody = [Subject(f"user {number}") for number in range(100)]
    many = decision({f"p{number}": True for number in range(MAX_CATEGORIES)}, 5, received_ms=9)
    ledger.record([Told(subject, many, Evidence.API) for subject in everybody], now_ms=9)

    view.refresh()
    known = view.of_many(everybody)

    assert {len(one.slots) for one in known} == {MAX_CATEGORIES}
    assert len(view._known) <= 2 * 20 // (MAX_CATEGORIES // PURPOSES_OF_ONE)


def test_clients_cannot_take_the_room_of_the_policy_that_is_required(ledger: Ledger, open_view: OpenView) -> None:
    for start in range(0, MAX_LEARNED + 100, 100):
        purposes = {f"purpose {n}": True for n in range(start, start + 100)}
        ledger.record([Told(PHONE, decision(purposes, 5, received_ms=9), Evidence.API)], now_ms=9)
    under = [decision({"marketing": True}, 5, received_ms=9, policy=policy) for policy in ("2026-12", "2027-01")]

    required = Ledger(ledger.path, ledger.path.with_name("consent.key"), policy="2026-12")
    required.record([Told(ANNE, under[0], Evidence.API), Told(LAPTOP, under[1], Evidence.API)], now_ms=9)
    required.close()

    view = open_view(Rules(require_policy="2026-12"))
    assert (state(view, ANNE), state(view, LAPTOP)) == (G, U)


def test_whatever_was_told_of_a_subject_there_is_room_for_a_denial_of_a_configured_purpose(
    ledger: Ledger, open_view: OpenView
) -> None:
    ledger.record([told(ANNE, True, 5, purpose=f"p{number}") for number in range(MAX_CATEGORIES)], now_ms=NOW_MS)

    ledger.record([told(ANNE, False, 6), told(ANNE, True, 6, purpose="one more")], now_ms=NOW_MS)

    assert (state(open_view(), ANNE), state(open_view(), ANNE, "one more")) == (D, U)


@pytest.mark.parametrize("name", ["", "\ud800", "a\0b", "x" * 129])
def test_odd_names_are_left_out(ledger: Ledger, open_view: OpenView, name: str) -> None:
    writes = decision({name: True, "marketing": True}, 5, received_ms=9, policy=name)

    ledger.record([Told(Subject("\ud800", name), writes, Evidence.API, name)], now_ms=9)

    known = open_view().of(Subject("\ud800", name))
    assert list(known.slots) == ["marketing"]
    assert known.slots["marketing"].policy == ""


def test_an_entry_that_fails_writes_nothing_of_its_transaction(ledger: Ledger, open_view: OpenView) -> None:
    broken = Told(PHONE, {"new": (None,)}, Evidence.API)  # type: ignore[dict-item]

    with pytest.raises(AttributeError):
        ledger.record([told(ANNE, True, 5, purpose="newer"), broken], now_ms=NOW_MS)
    ledger.record([told(PHONE, True, 5, purpose="newest")], now_ms=NOW_MS)

    assert (state(open_view(), ANNE, "newer"), state(open_view(), PHONE, "newest")) == (U, G)


def test_look_up_of_somebody_new_moves_the_view_on_as_a_whole(ledger: Ledger, open_view: OpenView) -> None:
    ledger.record([told(ANNE, True, 5)], now_ms=NOW_MS)
    view = open_view()
    before = view.of(ANNE)
    ledger.record([told(ANNE, False, 6), told(PHONE, True, 6)], now_ms=NOW_MS)

    same, phone = view.of(ANNE), view.of(PHONE)
    now = view.of(ANNE)

    marketing = [one.standings(gpc=True, now_ms=NOW_MS).of("marketing").state for one in (before, same, phone, now)]
    assert marketing == [G, G, G, D]
    assert view.version == ledger.version() == 3


def test_one_look_up_of_many_is_of_one_version(ledger: Ledger, open_view: OpenView) -> None:
    ledger.record([told(ANNE, True, 5)], now_ms=NOW_MS)
    view = open_view()
    view.of(ANNE)
    ledger.record([told(ANNE, False, 6)], now_ms=NOW_MS)

    anne, _ = view.of_many([ANNE, PHONE])

    assert anne.standings(gpc=True, now_ms=NOW_MS).of("marketing").state is D
    assert view.version == 2
