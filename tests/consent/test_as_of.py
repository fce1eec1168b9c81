"""What the ledger knew at an earlier version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluicegate.consent.as_of import LedgerPast
from sluicegate.consent.evidence import Evidence, Told, signal
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from tests.consent.saying import ANNE, NOW_MS, PHONE, D, G, U, alias, identify, seen, told

BEN = Subject(user_id="ben")


@pytest.fixture
def past(ledger: Ledger) -> Iterator[LedgerPast]:
    opened = LedgerPast(ledger.path, ledger.path.with_name("consent.key"), Rules())
    yield opened
    opened.close()


def stood(past: LedgerPast, subject: Subject, version: int) -> State:
    return past.of(subject, version, gpc=True, now_ms=NOW_MS).of("marketing").state


def test_what_was_told_later_was_not_known(ledger: Ledger, past: LedgerPast) -> None:
    first = ledger.record([told(PHONE, True, 5)], now_ms=NOW_MS).version
    second = ledger.record([told(PHONE, False, 6)], now_ms=NOW_MS).version

    assert [stood(past, PHONE, version) for version in (0, first, second)] == [U, G, D]


def test_a_device_that_came_to_another_user_was_the_first_ones_until_then(ledger: Ledger, past: LedgerPast) -> None:
    ledger.record([identify("phone", "anne", 1)], now_ms=NOW_MS)
    refused = ledger.record([told(ANNE, False, 2)], now_ms=NOW_MS).version
    ledger.record([told(BEN, True, 3)], now_ms=NOW_MS)
    passed_on = ledger.record([identify("phone", "ben", 4)], now_ms=NOW_MS).version

    assert (stood(past, PHONE, refused), stood(past, PHONE, passed_on)) == (D, G)


def test_a_user_belonged_to_nobody_before_being_renamed(ledger: Ledger, past: LedgerPast) -> None:
    ledger.record([identify("phone", "anne", 1), told(PHONE, True, 2)], now_ms=NOW_MS)
    before = ledger.record([told(BEN, False, 3)], now_ms=NOW_MS).version
    renamed = ledger.record([alias("anne", "ben", 4)], now_ms=NOW_MS).version

    assert (stood(past, ANNE, before), stood(past, PHONE, before)) == (G, G)
    assert (stood(past, ANNE, renamed), stood(past, PHONE, renamed)) == (D, D)


def test_what_turned_a_decision_is_nothing_that_has_no_say_in_it(ledger: Ledger, past: LedgerPast) -> None:
    ledger.record([identify("phone", "anne", 1)], now_ms=NOW_MS)
    refused = ledger.record([told(ANNE, False, 2)], now_ms=NOW_MS).version
    ledger.record([seen(ANNE, False, 3)], now_ms=NOW_MS)
    ledger.record([Told(PHONE, signal(("marketing",), at_ms=4), Evidence.GPC)], now_ms=NOW_MS)

    def turned(*, gpc: bool) -> int:
        return past.changes(PHONE, {"marketing"}, granted=False, up_to=ledger.version(), gpc=gpc)[0].version

    assert (turned(gpc=False), turned(gpc=True) > refused) == (refused, True)
