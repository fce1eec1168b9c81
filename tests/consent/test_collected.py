from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.consent.collected import (
    REFRESH_MS,
    Collected,
    News,
    Refreshes,
    conflicts,
    entries_of,
    is_settled,
    news_in,
    news_in_stamp,
)
from sluicegate.consent.cookie import read_cookie
from sluicegate.consent.evidence import Evidence, Link, Told, stamp_writes
from sluicegate.consent.slots import EMPTY, Slot, Write, joined
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent, derive
from sluicegate.consent.subject import Subject
from sluicegate.consent.tcf import read_tc_string
from tests.consent.test_tcf import MEASURE

NOW_MS = 1_795_453_201_000
PHONE = Subject(anonymous_id="phone")


def collected(**changes: Any) -> Collected:
    return Collected(**{"type": "track", "subject": PHONE, "time_ms": NOW_MS, "decided": {}, **changes})


def entries(**changes: Any) -> list[Any]:
    return entries_of(collected(**changes), received_ms=NOW_MS, source="web", gpc_purposes=("marketing",))


def test_an_event_that_says_nothing_writes_nothing() -> None:
    assert entries() == []


def test_statement_41_an_event_without_a_subject_writes_nothing() -> None:
    assert entries(subject=Subject(), decided={"marketing": True}, gpc=True) == []


def test_the_time_of_a_preference_event_is_that_of_the_decision() -> None:
    (told,) = entries(decided={"marketing": False}, evidence=Evidence.PREFERENCE_EVENT, time_ms=NOW_MS - 5)

    assert told.writes == {"marketing": (Write(Slot.DECIDED, False, NOW_MS - 5),)}
    assert told.evidence is Evidence.PREFERENCE_EVENT


def test_statement_42_gpc_is_written_for_its_purposes() -> None:
    (told,) = entries(gpc=True)

    assert told == Told(PHONE, {"marketing": (Write(Slot.GPC, False, NOW_MS),)}, Evidence.GPC, "web")


def test_statement_45_a_tc_string_is_seen_and_its_grants_count_from_its_day() -> None:
    tc = read_tc_string(MEASURE)

    (told,) = entries(decided=tc.decided, evidence=Evidence.TCF, decided_at_ms=tc.updated_ms)

    day_ms = 1_795_392_000_000
    assert told.writes["marketing"] == (Write(Slot.SEEN, False, NOW_MS),)
    assert told.writes["measurement"] == (Write(Slot.SEEN, True, NOW_MS), Write(Slot.DECIDED, True, day_ms))


def test_the_cookie_is_a_decision_of_its_time() -> None:
    cookie = read_cookie("c.measurement:1,i.t:1795428000000", aliases={})

    assert cookie is not None
    (told,) = entries(decided=cookie.decided, evidence=Evidence.COOKIE, decided_at_ms=cookie.at_ms)

    assert told.evidence is Evidence.COOKIE
    assert told.writes["measurement"] == (Write(Slot.DECIDED, True, 1_795_428_000_000),)
    assert told.writes["marketing"] == (Write(Slot.DECIDED, False, 1_795_428_000_000),)


def test_statement_40_identify_and_alias_link_ids() -> None:
    both = Subject("anne", "phone")

    assert entries(type="identify", subject=both) == [Link(PHONE, "anne", NOW_MS, Evidence.IDENTIFY, "web")]
    assert entries(type="alias", subject=Subject("anne"), previous_id="old") == [
        Link(Subject("old", "old"), "anne", NOW_MS, Evidence.ALIAS, "web")
    ]
    assert entries(type="track", subject=both) == entries(type="identify") == []


def known(*writes: Write) -> SubjectConsent:
    return SubjectConsent({"marketing": joined(writes)}, Rules())


@pytest.mark.parametrize(
    ("before", "write", "expected"),
    [
        ([], Write(Slot.SEEN, True, 5), News.CHANGE),
        ([Write(Slot.SEEN, True, 5)], Write(Slot.SEEN, True, 5), News.NONE),
        ([Write(Slot.SEEN, True, 5)], Write(Slot.SEEN, True, 4), News.NONE),
        ([Write(Slot.SEEN, True, 5)], Write(Slot.SEEN, True, 6), News.AGAIN),
        ([Write(Slot.SEEN, False, 5)], Write(Slot.SEEN, False, 6), News.AGAIN),
        ([Write(Slot.SEEN, True, 5)], Write(Slot.SEEN, False, 5), News.CHANGE),
        ([Write(Slot.SEEN, False, 5)], Write(Slot.SEEN, True, 6), News.CHANGE),
        ([Write(Slot.DECIDED, True, 5)], Write(Slot.DECIDED, True, 5), News.NONE),
        ([Write(Slot.DECIDED, True, 5)], Write(Slot.DECIDED, True, 6), News.CHANGE),
        ([Write(Slot.SEEN, False, 4), Write(Slot.DECIDED, True, 5)], Write(Slot.SEEN, False, 6), News.CHANGE),
        ([Write(Slot.SEEN, False, 5), Write(Slot.DECIDED, True, 5)], Write(Slot.SEEN, False, 6), News.CHANGE),
    ],
)
def test_only_what_changes_something_is_news(before: list[Write], write: Write, expected: News) -> None:
    assert news_in({"marketing": (write,)}, known(*before) if before else UNKNOWN_SUBJECT, now_ms=NOW_MS) is expected


def test_denial_is_news_where_a_clock_that_was_ahead_has_dated_the_grant() -> None:
    before = Write(Slot.DECIDED, True, NOW_MS + 1)

    for slot in (Slot.DECIDED, Slot.SEEN):
        writes = {"marketing": (Write(slot, False, NOW_MS),)}
        assert news_in(writes, known(Write(Slot.SEEN, False, NOW_MS), before), now_ms=NOW_MS) is News.CHANGE


@given(st.lists(st.builds(Write, st.sampled_from(Slot), st.booleans(), st.integers(1, 6)), max_size=4), st.data())
def test_what_is_only_said_again_changes_no_state(before: list[Write], data: st.DataObject) -> None:
    write = data.draw(st.builds(Write, st.just(Slot.SEEN), st.booleans(), st.integers(1, 9)))
    slots = joined(before)

    news = news_in({"marketing": (write,)}, known(*before), now_ms=NOW_MS)

    if news is not News.CHANGE:
        states = [derive(joined([*before, *more]), Rules(), gpc=True, now_ms=NOW_MS).state for more in ([], [write])]
        assert states[0] is states[1]
        assert slots.seen or news is News.NONE


MARKS = st.lists(st.builds(Write, st.sampled_from(Slot), st.booleans(), st.integers(1, 6)), max_size=3)
PURPOSES = ("functionality", "marketing", "measurement")


@given(
    st.dictionaries(st.sampled_from(PURPOSES), MARKS),
    st.dictionaries(st.sampled_from(PURPOSES), st.booleans(), min_size=1),
    st.integers(1, 9),
)
def test_a_plain_stamp_is_the_news_that_its_writes_are(
    before: dict[str, list[Write]], stamp: dict[str, bool], at_ms: int
) -> None:
    slots = {purpose: joined(writes) for purpose, writes in before.items() if writes}
    subject = SubjectConsent({purpose: one for purpose, one in slots.items() if one != EMPTY}, Rules())

    news = news_in_stamp(stamp.items(), subject, at_ms)

    writes = stamp_writes(stamp, time_ms=at_ms, received_ms=NOW_MS)
    assert news in (None, news_in(writes, subject, now_ms=NOW_MS))
    if news in (News.NONE, News.AGAIN):
        assert is_settled(stamp, subject)
        assert not conflicts(writes, subject)


def test_what_is_said_again_is_written_once_a_minute_with_its_newest_time() -> None:
    refreshes = Refreshes()
    for at_ms in (7, 9, 8):
        told = Told(PHONE, {"marketing": (Write(Slot.SEEN, False, at_ms),)}, Evidence.STAMP, "web")
        refreshes.put(told, now_ms=NOW_MS)

    due = [refreshes.is_due(now_ms=NOW_MS + later) for later in (0, REFRESH_MS - 1, REFRESH_MS)]
    taken = refreshes.take()

    assert due == [False, False, True]
    assert [told.writes["marketing"] for told in taken] == [(Write(Slot.SEEN, False, 9),)]
    assert (refreshes.take(), refreshes.is_due(now_ms=NOW_MS * 2)) == ([], False)
