from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.consent import past
from sluicegate.consent.evidence import Entry, Evidence, Link, Told, decision, signal, stamp_writes, withdrawal
from sluicegate.consent.history import history
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.record import MAX_MEMBERS, earlier
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.errors import LogDamaged

ANNE = Subject(anonymous_id="anne")
USER = Subject(user_id="user-anne")
MARKETING = ("marketing",)


class Book:
    """A ledger and a view of it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "consent.db", folder / "consent.key")
        self.view = LedgerView(self.ledger.path, folder / "consent.key", Rules())

    def write(self, *entries: Entry, now_ms: int) -> None:
        self.ledger.record(list(entries), now_ms=now_ms)
        self.view.refresh()

    def newest(self, subject: Subject, *, gpc: bool = True) -> int:
        return self.view.newest_denials(subject, MARKETING, gpc=gpc).get("marketing", 0)

    def key(self, subject: Subject) -> bytes:
        return self.view.keys.of(subject)[0]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    yield book
    book.view.close()
    book.ledger.close()


def says(granted: bool, subject: Subject = ANNE, *, at_ms: int = 10, purpose: str = "marketing") -> Told:
    return Told(subject, decision({purpose: granted}, at_ms, received_ms=at_ms), Evidence.API)


def test_a_denial_is_remembered_by_when_it_was_recorded_whatever_follows(book: Book) -> None:
    book.write(says(True, at_ms=5), now_ms=100)
    book.write(says(False, at_ms=10), now_ms=200)
    book.write(says(True, at_ms=20), now_ms=300)

    assert (book.newest(ANNE), book.newest(USER)) == (200, 0)


def test_a_long_history_from_before_a_time_is_not_looked_through(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def looking_at(previous: int, version: int) -> int:
        looked_at.append(version)
        return earlier(previous, version)

    monkeypatch.setattr(past, "earlier", looking_at)
    for at_ms in range(1, 5 * past.MAX_BEFORE):
        book.write(says(at_ms % 2 == 0, purpose="measurement", at_ms=at_ms), now_ms=at_ms)

    assert book.view.newest_denials(ANNE, MARKETING, gpc=True, since_ms=5 * past.MAX_BEFORE - 10) == {}
    assert len(looked_at) == 9 + 1 + past.MAX_BEFORE


def test_a_denial_is_found_behind_a_change_of_a_clock_that_was_behind(book: Book) -> None:
    book.write(says(False, at_ms=10), now_ms=200)
    book.write(says(True, at_ms=20), now_ms=5)
    book.write(says(True, at_ms=30), now_ms=300)

    assert book.view.newest_denials(ANNE, MARKETING, gpc=True, since_ms=150) == {"marketing": 200}


def test_a_denial_of_another_purpose_or_person_is_none(book: Book) -> None:
    book.write(says(False, purpose="measurement"), says(False, Subject(anonymous_id="ben")), now_ms=100)

    assert book.newest(ANNE) == 0


def test_every_kind_of_denial_counts_and_what_another_device_showed_does_not(book: Book) -> None:
    book.write(Link(ANNE, "user-anne", 1), now_ms=10)
    seen = stamp_writes({"marketing": False}, time_ms=20, received_ms=20)

    book.write(Told(USER, seen, Evidence.STAMP), now_ms=20)
    other_device = book.newest(ANNE)
    book.write(Told(ANNE, seen, Evidence.STAMP), now_ms=30)
    own = book.newest(ANNE)
    book.write(Told(ANNE, signal(MARKETING, at_ms=40), Evidence.GPC), now_ms=40)
    signals = book.newest(ANNE), book.newest(ANNE, gpc=False)
    book.write(Told(USER, withdrawal(MARKETING, at_ms=50), Evidence.OPERATOR), now_ms=50)

    assert (other_device, own, signals, book.newest(ANNE)) == (0, 30, (40, 30), 50)


def test_a_denial_that_is_seen_again_after_a_grant_is_no_mere_repetition(book: Book) -> None:
    book.write(Told(ANNE, stamp_writes({"marketing": False}, time_ms=10, received_ms=10), Evidence.STAMP), now_ms=100)
    book.write(says(True, at_ms=20), now_ms=200)

    book.write(Told(ANNE, stamp_writes({"marketing": False}, time_ms=30, received_ms=30), Evidence.STAMP), now_ms=300)
    book.write(Told(ANNE, stamp_writes({"marketing": False}, time_ms=40, received_ms=40), Evidence.STAMP), now_ms=400)

    assert book.newest(ANNE) == 300
    assert [change.evidence for change in history(book.ledger, ANNE)] == [Evidence.STAMP, Evidence.API, Evidence.STAMP]


def test_a_change_concerns_every_id_that_belongs_to_the_changed_one(book: Book) -> None:
    book.write(Link(ANNE, "user-anne", 1), Link(Subject(user_id="user-anne"), "renamed", 2), now_ms=10)
    before = book.view.version

    book.write(says(True, Subject(user_id="renamed")), now_ms=20)

    expected = frozenset([book.key(ANNE), book.key(USER), book.key(Subject(user_id="renamed"))])
    assert book.view.changed_since(before) == expected
    assert book.view.changed_since(book.view.version) == frozenset()


def test_a_change_of_somebody_with_more_ids_than_are_listed_may_concern_anybody(book: Book) -> None:
    devices = [Subject(anonymous_id=f"device {number}") for number in range(MAX_MEMBERS + 1)]
    book.write(*[Link(device, "user-anne", 1) for device in devices], now_ms=10)
    before = book.view.version

    book.write(says(False, USER), now_ms=20)

    assert book.view.changed_since(before) is None


@pytest.mark.parametrize("change", ["what = x'00ff'", "what = x'00'", "evidence = 99", "previous = version"])
def test_a_damaged_row_of_the_history_is_damage(book: Book, change: str) -> None:
    book.write(says(False), now_ms=10)
    book.ledger.db.execute(f"UPDATE history SET {change}")

    with pytest.raises(LogDamaged):
        book.newest(ANNE)
    with pytest.raises(LogDamaged):
        history(book.ledger, ANNE)
