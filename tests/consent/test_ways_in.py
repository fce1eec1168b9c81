from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.acceptance.document import read_object
from sluicegate.consent.call import ConsentCall, checked_call, read_consent_call, read_consent_event
from sluicegate.consent.cookie import read_cookie, read_cookie_header
from sluicegate.consent.evidence import DAY_MS, Evidence, stamp_writes
from sluicegate.consent.gpc import is_set, is_set_in_context, well_known
from sluicegate.consent.moment import read_moment_ms
from sluicegate.consent.regulation_call import checked_ids
from sluicegate.consent.requirement import State
from sluicegate.consent.slots import Slot, Write, joined
from sluicegate.consent.stamp import Parts, decided_at_ms
from sluicegate.consent.standing import Rules, derive
from sluicegate.consent.subject import Subject
from sluicegate.errors import BodyRefused
from tests.consent.model import model, needs_model

NOW_MS = 1_795_453_201_000
PHONE = Subject(anonymous_id="phone")
ALIASES = {"ads": "marketing", "remarketing": "marketing"}
DENIED = {"functionality": False, "experience": False, "measurement": False, "marketing": False}


def read(body: bytes) -> ConsentCall:
    return read_consent_call(read_object(body, max_depth=64), aliases=ALIASES)


def call(**members: Any) -> ConsentCall:
    body = {"userId": "anne", "preferences": {"marketing": True}, **members}
    return read(json.dumps(body).encode())


def event(**members: Any) -> ConsentCall:
    body = {"type": "consent", "anonymousId": "phone", **members}
    return read_consent_event(body, aliases=ALIASES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


# -- POST /v1/consent -------------------------------------------------------------------------------------------------


def test_a_call_tells_whose_decision_it_is_and_when_it_was_taken() -> None:
    found = call(anonymousId=7, decidedAt="2026-11-23T10:00:00Z", policyVersion="v2", validUntil=NOW_MS)

    assert found == ConsentCall(Subject("anne", "7"), {"marketing": True}, 1_795_428_000_000, NOW_MS, "v2")


def test_of_several_categories_of_one_purpose_a_denial_counts() -> None:
    assert call(preferences={"ads": True, "remarketing": False}).decided == {"marketing": False}
    assert call(preferences={"ads": False, "marketing": True}).decided == {"marketing": False}


def test_statement_13_necessary_cannot_be_decided() -> None:
    assert call(preferences={"necessary": False}).decided == {}


def test_statement_26_a_decision_is_never_later_than_its_arrival() -> None:
    told = call(decidedAt="2027-11-23T10:00:00Z").told(evidence=Evidence.API, source="web", received_ms=NOW_MS)

    assert told.writes == {"marketing": (Write(Slot.DECIDED, True, NOW_MS),)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"userId": None},
        {"userId": ""},
        {"userId": True},
        {"userId": ["anne"]},
        {"userId": "x" * 256},
        {"userId": 2**63},
        {"anonymousId": 1.5},
        {"preferences": None},
        {"preferences": {}},
        {"preferences": ["marketing"]},
        {"preferences": "marketing"},
        {"preferences": {"marketing": "true"}},
        {"preferences": {"marketing": 1}},
        {"preferences": {"marketing": None}},
        {"preferences": {"marketing": False, "measurement": "granted"}},
        {"preferences": {"": True}},
        {"preferences": {"x" * 129: True}},
        {"preferences": {"\ud800": True}},
        {"preferences": {f"p{n}": True for n in range(101)}},
        {"decidedAt": "yesterday"},
        {"decidedAt": True},
        {"decidedAt": -1},
        {"decidedAt": 1e300},
        {"decidedAt": "0001-01-01T00:00:00Z"},
        {"validUntil": {}},
        {"policyVersion": 2},
        {"policyVersion": "x" * 129},
    ],
)
def test_a_call_that_cannot_be_understood_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BodyRefused):
        call(**wrong)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"userId":"a","preferences":{"marketing":true,"marketing":false}}',
        b'{"userId":"a","userId":"b","preferences":{"marketing":true}}',
        b'{"userId":"a","preferences":{"marketing":true},"decidedAt":NaN}',
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BodyRefused):
        read(body)


@pytest.mark.parametrize("half", ["\ud800", "anne\udc00", "\udcff"])
def test_half_a_surrogate_pair_is_nobodys_id(half: str) -> None:
    with pytest.raises(BodyRefused, match="userId and anonymousId"):
        checked_call({"marketing": True}, user_id=half, anonymous_id=None, aliases={})
    with pytest.raises(BodyRefused, match="userId and anonymousId"):
        event(anonymousId=half, preferences={"marketing": True})
    with pytest.raises(BodyRefused, match="subjectIds"):
        checked_ids(["anne", half])


@given(
    st.dictionaries(st.sampled_from(["userId", "anonymousId", "preferences", "decidedAt", "validUntil"]), json_values)
)
def test_no_call_is_more_than_refused(members: dict[str, Any]) -> None:
    try:
        found = read(json.dumps(members).encode())
    except BodyRefused:
        return

    granted = {name for name, value in members["preferences"].items() if value is True}
    assert {purpose for purpose, value in found.decided.items() if value} <= granted


# -- c15t -------------------------------------------------------------------------------------------------------------


def test_a_consent_event_decides_what_it_prefers() -> None:
    found = event(action="updated", preferences={"measurement": True, "ads": False}, timestamp="2026-11-23T10:00:00Z")

    assert found.decided == {"measurement": True, "marketing": False}
    assert found.decided_at_ms == 1_795_428_000_000


def test_a_revoking_event_never_grants() -> None:
    assert event(action="revoked").decided == DENIED
    assert event(action="revoked", preferences={"measurement": True, "marketing": False}).decided == {
        "marketing": False
    }


@pytest.mark.parametrize("wrong", [{"action": "granted"}, {"action": "given"}, {"action": []}, {"action": None}])
def test_a_consent_event_without_a_decision_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BodyRefused):
        event(**wrong)


def test_the_cookie_denies_what_it_leaves_out() -> None:
    found = read_cookie("c.necessary:1,c.measurement:1,i.t:1795428000000", aliases={})

    assert found == ({**DENIED, "measurement": True}, 1_795_428_000_000)


@pytest.mark.parametrize(
    "value",
    [
        "c.measurement%3A1%2Ci.t%3A1795428000000",
        '"c.measurement:1,i.t:1795428000"',
        "c.measurement:true, i.t:1795428000000,i.id:sub_1,extra",
    ],
)
def test_the_cookie_is_read_in_the_ways_browsers_store_it(value: str) -> None:
    assert read_cookie(value, aliases={}) == ({**DENIED, "measurement": True}, 1_795_428_000_000)


@pytest.mark.parametrize(
    "value", ["", "c.measurement:1", "i.t:", "i.t:x", "i.t:-5", "i.t:1,i.t:2", "i.t:\u0661", "x" * 5000, "{}", "i.t:0"]
)
def test_a_cookie_without_a_time_of_decision_decides_nothing(value: str) -> None:
    assert read_cookie(value, aliases={}) is None


def test_odd_values_in_the_cookie_never_grant() -> None:
    found = read_cookie("c.measurement:yes,c.marketing:1,c.marketing:0,i.t:1795428000000", aliases={})

    assert found is not None
    assert found.decided == {"functionality": False, "experience": False, "marketing": False}


def test_the_cookie_is_found_among_others_and_counts_once() -> None:
    one = "c15t=c.measurement:1,i.t:1795428000000"

    assert read_cookie_header(f"a=b; {one}; c15t_x=1", aliases={}) == read_cookie(one[5:], aliases={})
    assert read_cookie_header(f"{one}; c15t=c.marketing:1,i.t:1795428000000", aliases={}) is None
    assert read_cookie_header("a=b", aliases={}) is None


@given(st.text(max_size=60), st.sampled_from(["", "i.t:1795428000000,", "i.t:1795428000000,c.marketing:"]))
def test_no_cookie_is_too_odd(text: str, start: str) -> None:
    found = read_cookie(start + text, aliases={})

    if found is not None and ":1" not in (start + text) and ":true" not in (start + text) and "%" not in text:
        assert True not in found.decided.values()


# -- Global Privacy Control -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([b"1"], True),
        ([b" 1 "], True),
        ([b"0"], False),
        ([b"true"], False),
        ([b" 1 x"], False),
        ([b"11"], False),
        ([b""], False),
        ([b"0", b"1"], True),
        ([b"0, 1"], True),
    ],
)
def test_statement_42_only_a_plain_1_sets_gpc(values: list[bytes], expected: bool) -> None:
    assert is_set(values) is expected


@pytest.mark.parametrize("value", [False, None, 1, "1", "true", [], {}])
def test_statement_43_gpc_of_a_server_is_true_or_nothing(value: object) -> None:
    assert is_set_in_context(True)
    assert not is_set_in_context(value)


def test_statement_44_the_well_known_document_says_so() -> None:
    assert json.loads(well_known(date(2026, 11, 23))) == {"gpc": True, "lastUpdate": "2026-11-23"}


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["2026-11-23T10:00:00Z", "2026-11-23T11:00:00+01:00", 1_795_428_000, 1_795_428_000_000.0]
)
def test_times_are_read_as_consent_tools_write_them(value: object) -> None:
    assert read_moment_ms(value) == 1_795_428_000_000


@given(json_values)
def test_no_time_is_more_than_unreadable(value: Any) -> None:
    found = read_moment_ms(value)

    assert found is None or 0 < found < 1 << 46


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (Parts(consent=b'{"marketing":true,"givenAt":1795428000000}'), 1_795_428_000_000),
        (Parts(segment=b'{"categoryPreferences":{},"decidedAt":"2026-11-23T10:00:00Z"}'), 1_795_428_000_000),
        (Parts(consent=b'{"marketing":true}'), None),
        (Parts(consent=b'{"givenAt":"soon"}'), None),
        (Parts(consent=b'{"givenAt":1795428000000,"decidedAt":1795428000001}'), None),
        (Parts(consent=b'["givenAt"]'), None),
        (Parts(consent=b'{"givenAt":1795428000000,"givenAt":1}'), None),
        (Parts(consent=b'{"givenAt":1795428000000}', segment=b"{}"), None),
        (Parts(), None),
    ],
)
def test_statement_23_a_stamp_is_dated_by_the_one_dialect_it_is_in(parts: Parts, expected: int | None) -> None:
    assert decided_at_ms(parts) == expected


# -- stamps -----------------------------------------------------------------------------------------------------------


@needs_model
@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("decided_at", [None, 3])
@pytest.mark.parametrize("day", [True, False])
def test_stamps_are_written_as_in_the_model(granted: bool, decided_at: int | None, day: bool) -> None:
    expected = model()["stamp_writes"](
        "G" if granted else "D", 9, None if decided_at is None else decided_at * DAY_MS, day_precision=day
    )

    writes = stamp_writes(
        {"p": granted},
        time_ms=9,
        received_ms=9 * DAY_MS,
        decided_at_ms=None if decided_at is None else decided_at * DAY_MS,
        day_precision=day,
    )

    assert [(w.slot.name.lower(), "G" if w.granted else "D", w.at_ms) for w in writes["p"]] == expected


def test_statement_23_a_tc_refusal_in_the_afternoon_beats_a_grant_in_the_morning() -> None:
    hour_ms = 3_600_000
    morning = Write(Slot.DECIDED, True, NOW_MS // DAY_MS * DAY_MS + 10 * hour_ms)
    refusal = stamp_writes(
        {"marketing": False},
        time_ms=morning.at_ms + 6 * hour_ms,
        received_ms=morning.at_ms + 6 * hour_ms,
        decided_at_ms=NOW_MS // DAY_MS * DAY_MS,
        day_precision=True,
    )

    slots = joined([morning, *refusal["marketing"]])

    assert derive(slots, Rules(), gpc=True, now_ms=NOW_MS + DAY_MS).state is State.DENIED


def test_statement_26_what_was_seen_is_never_later_than_its_arrival() -> None:
    writes = stamp_writes({"marketing": True}, time_ms=NOW_MS + DAY_MS, received_ms=NOW_MS)

    assert writes == {"marketing": (Write(Slot.SEEN, True, NOW_MS),)}
