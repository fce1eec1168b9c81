from __future__ import annotations

import pytest

from sluicegate.consent.evidence import Evidence, Told, withdrawal
from sluicegate.consent.history import KEEP_AGAIN_MS, erase, forget_old, history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.slots import Slot, Write
from tests.consent.conftest import OpenView
from tests.consent.saying import ANNE, ANNE_ON_PHONE, LAPTOP, NOW_MS, PHONE, D, G, U, identify, seen, state, told


def test_history_tells_who_said_what_when(ledger: Ledger) -> None:
    ledger.record([told(ANNE, True, 5)], now_ms=10)
    ledger.record([Told(ANNE, withdrawal(("marketing",), at_ms=20), Evidence.OPERATOR, "cli")], now_ms=20)
    ledger.record([told(PHONE, True, 5)], now_ms=30)

    newest, oldest = history(ledger, ANNE)

    assert (newest.version, newest.recorded_at_ms, newest.evidence, newest.source) == (2, 20, Evidence.OPERATOR, "cli")
    assert newest.said == {"marketing": Write(Slot.ADMIN, False, 20).slots}
    assert (oldest.version, oldest.evidence, oldest.source) == (1, Evidence.API, "web")


def test_history_tells_with_whom_an_id_was_linked_and_what_came_over(ledger: Ledger) -> None:
    ledger.record([told(PHONE, True, 5), identify("phone", "anne")], now_ms=NOW_MS)

    changes = history(ledger, ANNE)

    assert {change.other for change in changes} == set(ledger.keys.of(PHONE))
    assert {purpose for change in changes for purpose in change.said} == {"marketing"}


def test_forgetting_history_leaves_the_state_and_tells_late_readers(ledger: Ledger, open_view: OpenView) -> None:
    view, late = open_view(), open_view()
    assert state(late, ANNE) is U
    ledger.record([told(ANNE, True, 5)], now_ms=10)
    ledger.record([told(ANNE, False, 6)], now_ms=20)
    ledger.record([told(ANNE, True, 7)], now_ms=30)

    gone = forget_old(ledger, now_ms=120, ttl_ms=95)

    assert gone == 2
    assert [change.version for change in history(ledger, ANNE)] == [3]
    assert (state(view, ANNE), state(late, ANNE)) == (G, G)
    assert ledger.record([told(ANNE, False, 8)], now_ms=130).version == 4


def test_history_of_a_clock_that_was_ahead_keeps_no_other_from_being_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.consent.history.CHUNK", 2)
    for at_ms in range(2):
        ledger.record([told(PHONE, True, at_ms + 1)], now_ms=10**12)
    for at_ms in range(5, 8):
        ledger.record([told(ANNE, True, at_ms)], now_ms=at_ms)

    forget_old(ledger, now_ms=120, ttl_ms=113)

    assert [change.version for change in (*history(ledger, ANNE), *history(ledger, PHONE))] == [5]


def test_history_of_a_clock_that_was_behind_takes_no_younger_history_with_it(ledger: Ledger) -> None:
    for said_ms, now_ms in ((5, 10), (6, 1_000), (7, 20), (8, 1_010)):
        ledger.record([told(ANNE, said_ms % 2 == 0, said_ms)], now_ms=now_ms)

    forget_old(ledger, now_ms=1_020, ttl_ms=100)
    kept = [change.version for change in history(ledger, ANNE)]
    forget_old(ledger, now_ms=1_105, ttl_ms=100)

    assert kept == [4, 3, 2]
    assert [change.version for change in history(ledger, ANNE)] == [4]


def test_the_same_again_of_a_clock_that_was_behind_takes_no_younger_along(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([seen(PHONE, False, 5)], now_ms=KEEP_AGAIN_MS)
    ledger.record([seen(PHONE, False, 7)], now_ms=KEEP_AGAIN_MS)
    ledger.record([seen(PHONE, False, 9)], now_ms=10)

    forget_old(ledger, now_ms=20 + KEEP_AGAIN_MS, ttl_ms=10**12)

    changes = view.refresh()
    assert changes is not None
    assert changes.keys == frozenset(ledger.keys.of(PHONE))


def test_the_same_again_is_forgotten_soon_and_its_time_is_kept(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([seen(PHONE, False, 5)], now_ms=10)
    ledger.record([seen(PHONE, False, 9)], now_ms=20)
    ledger.record([seen(PHONE, True, 7)], now_ms=30)

    gone = forget_old(ledger, now_ms=40 + KEEP_AGAIN_MS, ttl_ms=10**12)

    assert (gone, len(history(ledger, PHONE)), state(view, PHONE)) == (1, 1, D)


def test_statement_49_erasing_leaves_nothing_but_that_it_was_erased(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(PHONE, True, 5), identify("phone", "anne"), told(LAPTOP, True, 5)], now_ms=NOW_MS)
    assert state(view, ANNE) is G

    first, second = (erase(ledger, ANNE, now_ms=NOW_MS) for _ in range(2))

    assert first.changed == {*ledger.keys.of(ANNE), *ledger.keys.of(PHONE)}
    assert second.changed == frozenset()
    assert (state(view, ANNE), state(view, PHONE), state(view, LAPTOP)) == (U, U, G)
    assert history(ledger, ANNE_ON_PHONE) == []


def test_statement_51_who_was_erased_begins_undecided(ledger: Ledger, open_view: OpenView) -> None:
    view = open_view()
    ledger.record([told(ANNE, False, 5)], now_ms=NOW_MS)
    erase(ledger, ANNE, now_ms=NOW_MS)
    erased = state(view, ANNE)

    ledger.record([told(ANNE, True, 4)], now_ms=NOW_MS)

    assert (erased, state(view, ANNE)) == (U, G)
