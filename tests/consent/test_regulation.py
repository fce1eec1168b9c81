from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import apsw
import pytest

from sluicegate.consent.evidence import Evidence, Link, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.record import MAX_MEMBERS
from sluicegate.consent.regulation import (
    Kind,
    Regulation,
    SubjectKind,
    find_regulation,
    finish,
    keys_to_erase,
    reach,
    regulate,
    unfinished,
)
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import NO_END, SubjectConsent
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.sqlite import transaction

OpenView = Callable[..., LedgerView]
NOW_MS = 1_000
ANNE, PHONE, LAPTOP = Subject("anne"), Subject(anonymous_id="phone"), Subject(anonymous_id="laptop")


def told(subject: Subject, granted: bool = True) -> Told:
    return Told(subject, decision({"measurement": granted}, 5, received_ms=5), Evidence.API)


def identify(visitor: str, user: str, at_ms: int = 6) -> Link:
    return Link(Subject(anonymous_id=visitor), user, at_ms)


def ask(ledger: Ledger, kind: Kind, *ids: str, id_: str = "r1", head: int = 10, visitor: bool = False) -> Regulation:
    subject_kind = SubjectKind.ANONYMOUS_ID if visitor else SubjectKind.USER_ID
    return regulate(ledger, id_, kind, subject_kind, ids, head=head, now_ms=NOW_MS)


def seen_by(view: LedgerView, subject: Subject) -> SubjectConsent:
    view.refresh()
    return view.of(subject)


def state(view: LedgerView, subject: Subject) -> State:
    return seen_by(view, subject).standings(gpc=False, now_ms=NOW_MS).of("measurement").state


def test_erasing_a_user_erases_the_ids_that_belong_to_it_and_nobody_else(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE), identify("phone", "anna"), told(LAPTOP)], now_ms=NOW_MS)
    ledger.record([Link(Subject("anna", "anna"), "anne", 7, Evidence.ALIAS)], now_ms=NOW_MS)
    assert state(view, PHONE) is State.GRANTED

    asked = ask(ledger, Kind.DELETE_ONLY, "anne")

    assert keys_to_erase(ledger, "r1") >= {key for one in (ANNE, Subject("anna"), PHONE) for key in ledger.keys.of(one)}
    assert [seen_by(view, one).erased_to for one in (ANNE, PHONE, LAPTOP)] == [10, 10, 0]
    assert (state(view, PHONE), state(view, LAPTOP)) == (State.UNDECIDED, State.GRANTED)
    assert asked.changed == 4


@pytest.mark.parametrize("damage", ["what = x'00'", "previous = 2"])
def test_a_damaged_row_of_the_history_does_not_keep_a_person_from_being_erased(ledger: Ledger, damage: str) -> None:
    ledger.record([told(ANNE)], now_ms=NOW_MS)
    ledger.record([told(ANNE, False)], now_ms=NOW_MS)
    ledger.db.execute(f"UPDATE history SET {damage} WHERE version = 1")

    asked = ask(ledger, Kind.DELETE_ONLY, "anne")

    assert asked.changed == 1
    assert ledger.db.execute("SELECT evidence FROM history").fetchall() == [(Evidence.ERASED,)]


def test_erasing_a_visitor_leaves_its_user(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE), identify("phone", "anne")], now_ms=NOW_MS)

    ask(ledger, Kind.DELETE_ONLY, "phone", visitor=True)

    assert (seen_by(view, PHONE).erased_to, seen_by(view, ANNE).erased_to) == (10, 0)
    assert state(view, ANNE) is State.GRANTED


def test_ids_beyond_those_that_a_record_lists_are_erased_too(ledger: Ledger) -> None:
    visitors = [f"v{index}" for index in range(MAX_MEMBERS + 5)]
    ledger.record([identify(one, "anne", 6 + at) for at, one in enumerate(visitors)], now_ms=NOW_MS)

    reached = reach(ledger, SubjectKind.USER_ID, ["anne"])

    assert reached == {ledger.keys.user("anne"), *map(ledger.keys.anonymous, visitors)}


def test_events_are_barred_up_to_the_head_and_not_beyond(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    assert not view.has_regulated

    ask(ledger, Kind.DELETE_ONLY, "anne")
    anne = seen_by(view, Subject("anne", "any"))

    assert view.has_regulated
    assert [anne.barred(offset) for offset in (1, 10, 11)] == ["erased", "erased", None]
    assert not anne.is_suppressed
    assert not seen_by(view, LAPTOP).is_regulated


def test_suppressed_subjects_get_nothing_through_until_it_ends(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()

    ask(ledger, Kind.SUPPRESS_ONLY, "anne")
    suppressed = seen_by(view, ANNE)
    ask(ledger, Kind.UNSUPPRESS, "anne", id_="r2", head=20)
    freed = seen_by(view, ANNE)

    assert (suppressed.suppressed_to, suppressed.barred(11)) == (NO_END, "suppressed")
    assert [freed.barred(offset) for offset in (20, 21)] == ["suppressed", None]
    assert not freed.is_suppressed


def test_statement_51_unsuppress_restores_no_consent(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE), told(ANNE, False), identify("phone", "anne")], now_ms=NOW_MS)
    ask(ledger, Kind.SUPPRESS_ONLY, "anne")

    ended = ask(ledger, Kind.UNSUPPRESS, "anne", id_="r2")

    assert (state(view, ANNE), state(view, PHONE)) == (State.UNDECIDED, State.UNDECIDED)
    assert not seen_by(view, PHONE).is_suppressed
    assert ended.changed == 2


def test_a_suppression_ends_also_for_the_ids_that_were_erased_from_the_ledger(
    ledger: Ledger, open_view: OpenView
) -> None:
    view = open_view()
    ledger.record([identify("phone", "anne")], now_ms=NOW_MS)
    ask(ledger, Kind.SUPPRESS_WITH_DELETE, "anne")
    assert seen_by(view, PHONE).is_suppressed

    ask(ledger, Kind.UNSUPPRESS, "anne", id_="r2", head=12)

    assert not seen_by(view, PHONE).is_suppressed
    assert [seen_by(view, PHONE).barred(offset) for offset in (10, 12, 13)] == ["erased", "suppressed", None]


def test_ids_that_are_suppressed_in_two_names_stay_so_until_both_end(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([identify("phone", "anne")], now_ms=NOW_MS)
    ask(ledger, Kind.SUPPRESS_ONLY, "anne")
    ask(ledger, Kind.SUPPRESS_ONLY, "phone", id_="r2", visitor=True)

    ask(ledger, Kind.UNSUPPRESS, "anne", id_="r3")
    still = seen_by(view, PHONE).is_suppressed
    ask(ledger, Kind.UNSUPPRESS, "phone", id_="r4", visitor=True)

    assert (still, seen_by(view, PHONE).is_suppressed) == (True, False)


def test_a_second_time_changes_nothing(ledger: Ledger) -> None:
    ledger.record([told(ANNE)], now_ms=NOW_MS)

    changed = [ask(ledger, kind, "anne", id_=f"{kind}{n}").changed for kind in Kind for n in range(2)]

    assert changed == [1, 0, 0, 0, 0, 0, 1, 0]


def test_a_regulation_is_unfinished_until_it_is_reported(ledger: Ledger) -> None:
    asked = ask(ledger, Kind.SUPPRESS_WITH_DELETE, "anne")
    ask(ledger, Kind.SUPPRESS_ONLY, "ben", id_="r2")
    before = unfinished(ledger)
    ledger.record([told(ANNE)], now_ms=NOW_MS)  # of an event that was on its way

    finish(ledger, "r1", {"events": 3}, now_ms=NOW_MS + 5)

    found = find_regulation(ledger, "r1")
    assert (before, unfinished(ledger)) == ([asked], [])
    assert found is not None
    assert (found.finished_at_ms, found.report) == (NOW_MS + 5, {"events": 3})
    assert keys_to_erase(ledger, "r1") == frozenset()
    assert find_regulation(ledger, "r3") is None
    assert ledger.db.execute("SELECT count(*) FROM subjects").fetchall() == [(0,)]


def test_what_is_told_after_a_suppression_has_ended_is_kept_however_late_it_ends(
    ledger: Ledger, open_view: OpenView, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(ledger, Kind.SUPPRESS_WITH_DELETE, "anne")

    def ends_before(connection: apsw.Connection) -> AbstractContextManager[None]:
        monkeypatch.undo()
        ask(ledger, Kind.UNSUPPRESS, "anne", id_="r2")
        ledger.record([told(ANNE, False)], now_ms=NOW_MS)
        return transaction(connection)

    monkeypatch.setattr("sluicegate.consent.regulation.transaction", ends_before)
    finish(ledger, "r1", {}, now_ms=NOW_MS + 5)

    assert state(open_view(), ANNE) is State.DENIED


def test_no_id_is_in_the_ledgers_file(ledger: Ledger) -> None:
    ask(ledger, Kind.SUPPRESS_WITH_DELETE, "anne@example.org")

    files = sorted(ledger.path.parent.iterdir())

    assert all(b"anne@example.org" not in path.read_bytes() for path in files)
