from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sluicegate.acceptance import Acceptance, Acceptor, Reason
from sluicegate.acceptance.combining import Telling
from sluicegate.acceptance.times import write_ms
from sluicegate.acceptance.ways import NO_SIGNALS, Signals
from sluicegate.config.model import ConsentConfig, ConsentModel, GatewayConfig, HonorGpc, PurposesConfig
from sluicegate.consent.evidence import Evidence
from sluicegate.event import CONSENT_TYPE, Combo
from tests.consent.test_tcf import MEASURE

NOW_MS = 1_795_453_201_000
TIME = write_ms(NOW_MS)
MEASURES = {"functionality": False, "experience": False, "measurement": True, "marketing": False}
US_ONLY = ConsentConfig(
    jurisdiction_header="cf-ipcountry", jurisdictions={"US": ConsentModel.OPT_OUT, "DE": ConsentModel.OPT_IN}
)
COOKIE = b"a=b; c15t=c.necessary:1,c.measurement:1,i.t:1795428000000; d=e"
NOT_PLAIN = [
    {"context": {"tcf": {"tcString": MEASURE}}},
    {"context": {"gpc": True}},
    {"context": {"jurisdiction": "US"}},
    {"gdpr_consent": MEASURE},
]


def event(**changes: Any) -> dict[str, Any]:
    base = {"type": "track", "event": "A", "messageId": "m", "anonymousId": "phone", "timestamp": TIME}
    return {**base, **changes}


def acceptor(consent: ConsentConfig | None = None, *, vendors: tuple[int, ...] = ()) -> Acceptor:
    return Acceptor(GatewayConfig(), PurposesConfig(aliases={"ads": "marketing"}, vendors=vendors), consent)


def accept(
    *events: dict[str, Any],
    consent: ConsentConfig | None = None,
    signals: Signals = NO_SIGNALS,
    vendors: tuple[int, ...] = (),
    **body: Any,
) -> Acceptance:
    taker = acceptor(consent, vendors=vendors)
    raw = json.dumps({"batch": events, **body}).encode()
    return taker.accept_batch(raw, source="web", received_at_ms=NOW_MS, signals=signals)


def one(*args: Any, **kwargs: Any) -> Combo:
    accepted = accept(*args, **kwargs)
    assert accepted.rejected == []
    (combo,) = accepted.batch.combos
    return combo


def stamp(*args: Any, **kwargs: Any) -> dict[str, bool]:
    return dict(one(*args, **kwargs).stamp)


def telling(*args: Any, **kwargs: Any) -> Telling:
    combo = one(*args, **kwargs)
    assert isinstance(combo, Telling)
    return combo


# Keys that are there twice


@pytest.mark.parametrize(
    "members",
    [
        '"context":{"tcf":{"tcString":"x"},"tcf":null}',
        '"context":{"tcf":null,"tcf":{"tcString":"x"}}',
        '"context":{"gpc":true,"gpc":false}',
        '"context":{"gpc":true,"gpc":null}',
        '"context":{"gpc":null,"gpc":null}',
        '"gdpr_consent":null,"gdpr_consent":null',
        '"context":{"jurisdiction":"DE","jurisdiction":"US"}',
        '"gdpr_consent":"x","gdpr_consent":null',
        '"context":{"tcf":{"tcString":"x","tcString":"y"}}',
        '"context":{"jurisdiction":"US","gdpr_consent":null,"gdpr_consent":1}',
        '"context":{"\\u0067pc":true,"gpc":false}',
        '"context":{"\\u0067pc":true},"properties":{"tcf":1,"t\\u0063f":2}',
        '"context":{},"context":null',
        '"context":null,"context":{}',
        '"context":null,"context":null',
        '"context":{},"context":{}',
        '"groupId":"a","groupId":"b"',
        '"previousId":"a","previousId":"b"',
    ],
)
def test_an_event_that_says_it_twice_is_rejected_in_every_way(members: str) -> None:
    text = json.dumps(event())[:-1] + "," + members + "}"
    taker = acceptor(ConsentConfig(honor_gpc=HonorGpc.ALWAYS))

    in_batch = taker.accept_batch(f'{{"batch":[{text}]}}'.encode(), source="web", received_at_ms=NOW_MS)
    alone = taker.accept_single(text.encode(), type="track", source="web", received_at_ms=NOW_MS)

    for accepted in (in_batch, alone):
        assert [rejection.reason for rejection in accepted.rejected] == [Reason.DUPLICATE_KEY]


@pytest.mark.parametrize("name", ["tcf", "gdpr_consent", "gpc", "jurisdiction", "context"])
@pytest.mark.parametrize("odd", ["", ',"x":"\\u0041"', ',"consent":{"marketing":true},"context":{"consent":{}}'])
def test_what_tells_no_consent_may_be_there_twice_in_every_way(name: str, odd: str) -> None:
    text = json.dumps(event())[:-1] + f',"properties":{{"{name}":1,"{name}":2}}{odd}}}'
    taker = acceptor()

    batches = [f'{{"batch":[{text}]}}', f'{{"batch":[{text}],"x":{{"{name}":1,"{name}":2}}}}']
    ways = [taker.accept_batch(body.encode(), source="web", received_at_ms=NOW_MS) for body in batches]
    ways.append(taker.accept_single(text.encode(), type="track", source="web", received_at_ms=NOW_MS))

    assert [(len(accepted.batch), accepted.rejected) for accepted in ways] == [(1, [])] * 3


@pytest.mark.parametrize("members", NOT_PLAIN, ids=lambda members: json.dumps(members)[:20])
def test_every_way_of_taking_an_event_understands_it_alike(members: dict[str, Any]) -> None:
    taker = acceptor(ConsentConfig(model=ConsentModel.OPT_OUT), vendors=(755,))
    raw = json.dumps(event(**members)).encode()

    batch = taker.accept_batch(b'{"batch":[' + raw + b"]}", source="web", received_at_ms=NOW_MS)
    slow = taker.accept_batch(
        b'{"batch":[' + raw.replace(b'"A"', b'"A","x":"consent"') + b"]}", source="web", received_at_ms=NOW_MS
    )
    alone = taker.accept_single(raw, type="track", source="web", received_at_ms=NOW_MS)
    message = taker.accept_events([raw], consent=None, source="web", received_at_ms=NOW_MS)

    assert len({*batch.batch.combos, *slow.batch.combos, *alone.batch.combos, *message.batch.combos}) == 1
    assert json.loads(batch.batch.events[0]) == {**json.loads(raw), "receivedAt": TIME}


# Global Privacy Control


HONORED = ConsentConfig(model=ConsentModel.OPT_OUT, gpc_purposes=("marketing", "measurement"))


@pytest.mark.parametrize(
    ("signals", "members"), [(Signals(gpc=True), {}), (NO_SIGNALS, {"context": {"gpc": True}})], ids=["header", "event"]
)
def test_statement_42_gpc_denies_its_purposes_on_the_event_and_in_the_ledger(
    signals: Signals, members: dict[str, Any]
) -> None:
    found = telling(
        event(consent={"measurement": True, "functionality": True}, **members), consent=HONORED, signals=signals
    )

    assert dict(found.stamp) == {"measurement": False, "functionality": True, "marketing": False}
    assert dict(found.told) == {"measurement": True, "functionality": True}
    assert (found.gpc, found.evidence, found.decided_at_ms) == (True, Evidence.STAMP, None)


@pytest.mark.parametrize("value", [False, None, 1, "1", "true", [], {}])
def test_statement_43_gpc_from_a_server_needs_true(value: Any) -> None:
    found = one(event(context={"gpc": value}), consent=HONORED)

    assert (found.stamp, isinstance(found, Telling)) == ((), False)


def test_statement_43_gpc_has_no_effect_where_it_is_not_honoured() -> None:
    found = one(event(context={"gpc": True}), signals=Signals(gpc=True))

    assert (found.stamp, isinstance(found, Telling)) == ((), False)
    always = ConsentConfig(honor_gpc=HonorGpc.ALWAYS)
    assert stamp(event(), signals=Signals(gpc=True), consent=always) == {"marketing": False}


def test_statement_43_gpc_counts_by_the_place_of_the_event() -> None:
    places = {
        place: stamp(event(), consent=US_ONLY, signals=Signals(gpc=True, place=place)) for place in ("US", "DE", "")
    }

    assert places == {"US": {"marketing": False}, "DE": {}, "": {}}


def test_a_batchs_gpc_holds_for_all_of_its_events() -> None:
    accepted = accept(event(), event(consent={"marketing": True}), consent=HONORED, context={"gpc": True})

    assert [dict(combo.stamp)["marketing"] for combo in accepted.batch.combos] == [False, False]


# Headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"1", True), (b"0", False), (b"true", False), (b" 1 x", False), (b"0, 1", True), (None, False)],
)
def test_statement_42_only_a_plain_1_in_the_header_counts(value: bytes | None, expected: bool) -> None:
    headers = {} if value is None else {b"sec-gpc": value}

    assert acceptor(HONORED).ways.signals(headers).gpc is expected


def test_statement_43_dnt_counts_only_where_it_is_honoured() -> None:
    headers = {b"dnt": b"1"}

    assert not acceptor(HONORED).ways.signals(headers).gpc
    honored = ConsentConfig(model=ConsentModel.OPT_OUT, honor_dnt=True)
    assert acceptor(honored).ways.signals(headers).gpc
    assert acceptor(honored).ways.headers == {b"cookie", b"sec-gpc", b"dnt"}
    assert acceptor().ways.headers == {b"cookie"}


@pytest.mark.parametrize(
    ("value", "place"),
    [(b"US", "US"), (b"de", "DE"), (b"FR", "?"), (b"US, DE", "?"), (b"XX", "?"), (b"\xff", "?"), (b"", "")],
)
def test_the_trusted_header_tells_the_place_if_it_is_one(value: bytes, place: str) -> None:
    assert acceptor(US_ONLY).ways.signals({b"cf-ipcountry": value}).place == place


def test_what_the_event_says_of_its_place_comes_before_the_header() -> None:
    def place(said: Any, header: str = "US") -> str:
        return one(event(context={"jurisdiction": said}), consent=US_ONLY, signals=Signals(place=header)).place

    assert [place("DE"), place("de-by"), place("Mars"), place(7), place(""), place("US", "DE")] == [
        "DE",
        "DE",
        "?",
        "US",
        "US",
        "US",
    ]


# c15t's cookie


def test_the_cookie_stands_for_events_that_say_nothing_themselves() -> None:
    signals = acceptor().ways.signals({b"cookie": COOKIE})
    accepted = accept(event(), event(consent={"marketing": True}), signals=signals)
    silent, own = accepted.batch.combos

    assert isinstance(silent, Telling)
    assert dict(silent.stamp) == MEASURES
    assert (silent.evidence, silent.decided_at_ms) == (Evidence.COOKIE, 1_795_428_000_000)
    assert dict(own.stamp) == {"marketing": True}


def test_what_the_batch_says_comes_before_the_cookie() -> None:
    signals = acceptor().ways.signals({b"cookie": COOKIE})

    assert stamp(event(), signals=signals, consent=None, context={"consent": {"categoryPreferences": {}}}) == {}


@pytest.mark.parametrize(
    "cookie", [b"a=b", b"c15t=", b"c15t=x; c15t=y", b"c15t=\xff\xfe,i.t:\x80", b"c15t=i.t:1;c15t=i.t:2"]
)
def test_other_cookies_say_nothing(cookie: bytes) -> None:
    assert stamp(event(), signals=acceptor().ways.signals({b"cookie": cookie})) == {}


# Events about consent


@pytest.mark.parametrize("timestamp", ["yesterday", "2026-11-23t17:00:01z", "1970-01-01T00:00:00Z", "", {}, -1, 1e300])
def test_no_timestamp_of_a_consent_event_refuses_its_denial(timestamp: object) -> None:
    refusal = {"type": "consent", "action": "revoked", "preferences": {"marketing": False}, "userId": "anne"}

    accepted = accept({**refusal, "timestamp": timestamp})

    assert accepted.rejected == []
    (combo,) = accepted.batch.combos
    assert isinstance(combo, Telling)
    assert (dict(combo.told), combo.decided_at_ms) == ({"marketing": False}, None)


def test_a_consent_event_of_c15t_is_a_decision_and_is_stored_as_a_notice() -> None:
    sent = {
        "type": "consent",
        "action": "updated",
        "preferences": {"ads": False, "measurement": True},
        "userId": "anne",
        "anonymousId": "phone",
        "messageId": "c1",
        "timestamp": TIME,
        "policyVersion": "v2",
        "properties": {"email": "anne@example.org"},
        "context": {"ip": "192.0.2.1"},
    }
    accepted = accept(event(), sent)

    assert accepted.rejected == []
    combo = accepted.batch.combos[1]
    assert isinstance(combo, Telling)
    assert (combo.type, combo.evidence, combo.decided_at_ms, combo.policy) == (
        CONSENT_TYPE,
        Evidence.CONSENT_EVENT,
        NOW_MS,
        "v2",
    )
    assert dict(combo.told) == {"marketing": False, "measurement": True}
    assert json.loads(accepted.batch.events[1]) == {
        "receivedAt": TIME,
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": "c1",
        "timestamp": TIME,
        "userId": "anne",
        "anonymousId": "phone",
        "context": {"consent": {"categoryPreferences": {"marketing": False, "measurement": True}}},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "given", "preferences": {"marketing": True}},
        {"action": "granted"},
        {"action": "granted", "preferences": {"marketing": "true"}},
        {"action": "granted", "preferences": {"marketing": True}, "anonymousId": None},
        {"action": "granted", "preferences": {"marketing": True}, "givenAt": "soon"},
    ],
)
def test_a_consent_event_that_decides_nothing_is_rejected_alone(wrong: dict[str, Any]) -> None:
    accepted = accept({"type": "consent", "anonymousId": "phone", **wrong}, event())

    assert [(one.index, one.reason) for one in accepted.rejected] == [(0, Reason.CONSENT_EVENT)]
    assert len(accepted.batch) == 1


def test_a_consent_event_has_no_address_of_its_own() -> None:
    raw = json.dumps({"type": "consent", "anonymousId": "a", "preferences": {"marketing": True}}).encode()

    accepted = acceptor().accept_single(raw, type="track", source="web", received_at_ms=NOW_MS)

    assert [one.reason for one in accepted.rejected] == [Reason.TYPE]


def test_statement_39_of_segments_event_only_ids_preferences_and_time_are_kept() -> None:
    consent = {"categoryPreferences": {"ads": False, "C9": True, "odd": "x"}, "sourceCategory": "s"}
    sent = event(
        event="Segment Consent Preference Updated",
        userId="anne",
        context={"consent": consent, "ip": "192.0.2.1", "traits": {"email": "a@b.c"}},
        properties={"plan": "pro"},
    )
    accepted = accept(sent)
    (combo,) = accepted.batch.combos

    assert isinstance(combo, Telling)
    assert (combo.type, combo.evidence, dict(combo.told)) == (
        CONSENT_TYPE,
        Evidence.PREFERENCE_EVENT,
        {"marketing": False, "C9": True},
    )
    assert json.loads(accepted.batch.events[0]) == {
        "receivedAt": TIME,
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": "m",
        "timestamp": TIME,
        "userId": "anne",
        "anonymousId": "phone",
        "context": {"consent": {"categoryPreferences": {"ads": False, "C9": True}}},
    }


@pytest.mark.parametrize(
    ("own", "off"), [({}, ("crm",)), ({"integrations": {"ads": False}}, ("ads",)), ({"integrations": {}}, ())]
)
@pytest.mark.parametrize(
    "about_consent",
    [
        {"type": "consent", "action": "revoked", "preferences": {"marketing": False}, "anonymousId": "phone"},
        event(event="Segment Consent Preference Updated", context={"consent": {"categoryPreferences": {}}}),
    ],
    ids=["c15t", "segment"],
)
def test_integrations_of_a_batch_hold_for_its_events_about_consent_too(
    about_consent: dict[str, Any], own: dict[str, Any], off: tuple[str, ...]
) -> None:
    combo = one({**about_consent, **own}, integrations={"crm": False})

    assert (combo.type, combo.integrations_off) == (CONSENT_TYPE, off)


# Time


def test_statement_26_dates_of_stamps_are_corrected_as_times_of_events_are() -> None:
    year_ms = 365 * 86_400_000
    ahead = {"timestamp": write_ms(NOW_MS + year_ms), "sentAt": write_ms(NOW_MS + year_ms)}

    dated = telling(event(consent={"marketing": True, "givenAt": NOW_MS - 5_000 + year_ms}, **ahead))
    event_of_c15t = telling(
        {
            "type": "consent",
            "anonymousId": "a",
            "preferences": {"marketing": True},
            "givenAt": NOW_MS + year_ms,
            **ahead,
        }
    )
    undisputed = telling(event(consent={"marketing": True, "givenAt": NOW_MS - 5_000}))

    assert [dated.decided_at_ms, event_of_c15t.decided_at_ms, undisputed.decided_at_ms] == [
        NOW_MS - 5_000,
        NOW_MS,
        NOW_MS - 5_000,
    ]


# What is said by nobody


def test_statement_2_it_is_noted_that_an_event_says_nothing_where_that_matters() -> None:
    events = [event(), event(consent={}), event(context={"consent": {"categoryPreferences": {}}}), event(consent="x")]

    noted = accept(*events, consent=ConsentConfig(allow_unasked=True)).batch.combos
    plain = accept(*events).batch.combos

    assert [combo.unasked for combo in noted] == [True, False, False, False]
    assert [combo.unasked for combo in plain] == [False] * 4


def test_statement_13_that_necessary_is_refused_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    taker = acceptor()
    with caplog.at_level(logging.INFO):
        for number in range(3):
            raw = json.dumps({"batch": [event(consent={"necessary": False, f"p{number}": True})]}).encode()
            taker.accept_batch(raw, source="web", received_at_ms=NOW_MS)

    assert [record.message for record in caplog.records if "necessary" in record.message] == [
        "consent refuses the purpose necessary, which has no effect: source=web"
    ]
