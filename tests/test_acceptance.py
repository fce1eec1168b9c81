import json
from typing import Any

import pytest

from sluicegate.acceptance import Acceptor, Reason
from sluicegate.config.model import GatewayConfig
from sluicegate.errors import BodyRefused
from tests.accepting import RECEIVED, RECEIVED_MS, SECOND, accept, accept_body, event, reasons, stamps, stored

# What is stored


def test_complete_event_keeps_its_bytes_and_gets_the_time_it_was_received() -> None:
    text = (
        '{"messageId" : "m1", "type":"track","event":"A","userId":"u","timestamp":"2026-11-23T16:59:59Z","price":1.10}'
    )

    accepted = accept(text)

    assert accepted.batch.events == [f'{{"receivedAt":"{RECEIVED}",{text[1:]}'.encode()]
    assert accepted.batch.n_bytes == len(accepted.batch.events[0])
    assert accepted.batch.times_ms == [RECEIVED_MS - SECOND]


def test_columns_hold_the_ids_and_the_combination() -> None:
    accepted = accept(
        event(anonymousId="a1"), event(type="page", messageId="m2", userId=7), event(userId="", anonymousId="a")
    )

    batch = accepted.batch
    assert batch.message_ids == ["m1", "m2", "m1"]
    assert batch.user_ids == ["u1", "7", None]
    assert batch.anonymous_ids == ["a1", None, "a"]
    assert [combo.type for combo in batch.combos] == ["track", "page", "track"]
    assert {combo.source for combo in batch.combos} == {"web"}


def test_equal_stamps_share_one_combination() -> None:
    acceptor = Acceptor(GatewayConfig())
    body = json.dumps({"batch": [event(consent={"a": True})] * 3}).encode()

    first = acceptor.accept_batch(body, source="web", received_at_ms=RECEIVED_MS)
    second = acceptor.accept_batch(body, source="web", received_at_ms=RECEIVED_MS)

    assert len({id(combo) for combo in first.batch.combos + second.batch.combos}) == 1


def test_missing_members_are_filled_in_and_nothing_else_changes() -> None:
    accepted = accept('{"type":"track","event":"A","userId":"u","n":1.10,"big":18446744073709551615}')

    raw = accepted.batch.events[0]
    assert raw.endswith(b'"type":"track","event":"A","userId":"u","n":1.10,"big":18446744073709551615}')
    assert stored(accepted)["receivedAt"] == stored(accepted)["timestamp"] == RECEIVED
    assert stored(accepted)["messageId"] == accepted.batch.message_ids[0]


def test_generated_ids_differ_within_and_between_acceptors() -> None:
    events = [event(messageId=...)] * 50

    ids = accept(*events).batch.message_ids + accept(*events).batch.message_ids

    assert len(set(ids)) == 100
    assert all(name.startswith("sg-") for name in ids)


@pytest.mark.parametrize("member", ["messageId", "timestamp"])
def test_null_counts_as_missing_and_is_replaced(member: str) -> None:
    accepted = accept(event(**{member: None}))

    assert accepted.batch.events[0].count(f'"{member}"'.encode()) == 1
    assert stored(accepted)[member] is not None


def test_received_at_of_the_client_is_replaced() -> None:
    accepted = accept(event(receivedAt="1999-01-01T00:00:00Z"))

    assert stored(accepted) == {**event(), "receivedAt": RECEIVED}


# Verdicts


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("3", Reason.NOT_OBJECT),
        ("null", Reason.NOT_OBJECT),
        ("[]", Reason.NOT_OBJECT),
        ("{}", Reason.TYPE),
        (event(type="click"), Reason.TYPE),
        (event(type=None), Reason.TYPE),
        (event(type=["track"]), Reason.TYPE),
        (event(userId=...), Reason.NO_SUBJECT),
        (event(userId=None, anonymousId=""), Reason.NO_SUBJECT),
        (event(userId={}), Reason.SUBJECT),
        (event(userId=True), Reason.SUBJECT),
        (event(userId=1.5), Reason.SUBJECT),
        (event(anonymousId="a" * 256), Reason.SUBJECT),
        (event(userId=2**63), Reason.SUBJECT),
        (event(event=...), Reason.NO_EVENT_NAME),
        (event(event=""), Reason.NO_EVENT_NAME),
        (event(event=5), Reason.NO_EVENT_NAME),
        (event(type="group"), Reason.NO_GROUP_ID),
        (event(type="alias"), Reason.NO_PREVIOUS_ID),
        (event(messageId=5), Reason.MESSAGE_ID),
        (event(messageId=""), Reason.MESSAGE_ID),
        (event(messageId="m" * 256), Reason.MESSAGE_ID),
        (event(context=[]), Reason.CONTEXT),
        (event(context="x"), Reason.CONTEXT),
        (event(integrations="x"), Reason.INTEGRATIONS),
        (event(integrations={str(n): False for n in range(101)}), Reason.INTEGRATIONS),
        (event(properties={"text": "x" * 33_000}), Reason.TOO_LARGE),
        ('{"type":"track","event":"A","userId":"u","p":NaN}', Reason.NOT_JSON),
        ('{"type":"track","event":"A","userId":"u","p":-Infinity}', Reason.NOT_JSON),
        ('{"type":"track","event":"A","userId":"u\\ud800"}', Reason.NOT_JSON),
        ('{"type":"track","event":"A","userId":"u","p":"\\ud83d"}', Reason.NOT_JSON),
        ('{"type":"track","event":"A","userId":"u",}', Reason.NOT_JSON),
        ('{"type":"track" "event":"A","userId":"u"}', Reason.NOT_JSON),
        ('{"a":' * 65 + "1" + "}" * 65, Reason.TOO_DEEP),
        ('{"a":' + "[" * 5_000 + "]" * 5_000 + "}", Reason.TOO_DEEP),
        ('{"type":"track","event":"A","userId":"u","consent":{"a":false},"consent":{"a":true}}', Reason.DUPLICATE_KEY),
        ('{"type":"track","event":"A","userId":"u","consent":{"a":false,"a":true}}', Reason.DUPLICATE_KEY),
        ('{"type":"track","event":"A","userId":"u","context":{"consent":1},"context":{}}', Reason.DUPLICATE_KEY),
        ('{"type":"track","event":"A","userId":"u","context":{"consent":{},"consent":{}}}', Reason.DUPLICATE_KEY),
        ('{"type":"track","event":"A","userId":"u","consent":{},"con\\u0073ent":{}}', Reason.DUPLICATE_KEY),
    ],
)
def test_bad_event_gets_a_verdict_and_its_neighbours_are_accepted(bad: Any, reason: Reason) -> None:
    accepted = accept(event(), bad, event(messageId="m3"))

    assert reasons(accepted) == [(1, reason)]
    assert accepted.batch.message_ids == ["m1", "m3"]


def test_verdict_names_the_message_id_when_it_can_be_read() -> None:
    accepted = accept(event(type="click"), event(messageId=5))

    assert [rejection.message_id for rejection in accepted.rejected] == ["m1", None]


def test_depth_is_allowed_up_to_the_limit_and_brackets_in_texts_do_not_count() -> None:
    nested = json.loads('{"a":' * 62 + "{}" + "}" * 62)

    accepted = accept(event(properties=nested), event(properties={"text": '[{"' * 200}), event(properties=[[]] * 100))

    assert reasons(accepted) == []


@pytest.mark.parametrize("type", ["identify", "page", "screen"])
def test_other_types_need_no_event_name(type: str) -> None:
    assert reasons(accept(event(type=type, event=...))) == []


def test_group_and_alias_with_their_ids_are_accepted() -> None:
    accepted = accept(event(type="group", groupId="g", event=...), event(type="alias", previousId=7, event=...))

    assert reasons(accepted) == []


def test_statement_10_consent_event_without_preferences_is_rejected_alone() -> None:
    name = "Segment Consent Preference Updated"
    good = {"consent": {"categoryPreferences": {"C2": True}}}

    accepted = accept(event(event=name), event(event=name, context=good), event(event=name, context={"consent": {}}))

    assert reasons(accepted) == [(0, Reason.NO_PREFERENCES), (2, Reason.NO_PREFERENCES)]


# Whole bodies


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"batch":[{}', "not_json"),
        (b'{"batch":[{}]]', "not_json"),
        (b'{"batch":[NaN],"batch":[{}]}', "not_json"),
        (b'{"batch":[],"x":NaN}', "not_json"),
        (b"[" * 100_000, "not_a_batch"),
        (b'{"x":' * 50_000, "not_json"),
        (b"[]", "not_a_batch"),
        (b"3", "not_a_batch"),
        (b"{}", "not_a_batch"),
        (b'{"batch":{}}', "not_a_batch"),
        (b'{"batch":null}', "not_a_batch"),
        (b'{"batch":[],"context":3}', "context"),
        (b'{"batch":["\xff"]}', "not_utf8"),
        ('{"batch":[]}'.encode("utf-16"), "not_utf8"),
        (b'{"batch":[{}],"consent":{"a":false},"consent":{"a":true}}', "duplicate_key"),
        (b'{"batch":[],"consent":' + b"[" * 70 + b"]" * 70 + b"}", "too_deep"),
    ],
)
def test_body_that_cannot_be_split_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        accept_body(body)

    assert (refused.value.code, refused.value.status) == (code, 400)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"batch":[' + b" " * 512_001 + b"]}", "too_large"),
        (b'{"batch":[' + b",".join([b"1"] * 2_501) + b"]}", "too_many"),
        (b'{"batch":[' + b",".join([b"NaN"] * 2_501) + b"]}", "too_many"),
    ],
)
def test_body_over_a_limit_is_413(body: bytes, code: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        accept_body(body)

    assert (refused.value.code, refused.value.status) == (code, 413)


@pytest.mark.parametrize("filler", [b'"\\', b'"', b"[]", b"[", b"\\u0041", b'"consent"'])
def test_hostile_body_of_the_largest_size_is_answered_at_once(filler: bytes) -> None:
    body = b'{"batch":[NaN,' + filler * (500_000 // len(filler)) + b"]}"

    try:
        accepted = accept_body(body)
    except BodyRefused:
        return

    assert len(accepted.batch) == 0


def test_empty_batch_is_accepted() -> None:
    assert len(accept().batch) == 0


def test_byte_order_mark_is_accepted() -> None:
    assert accept_body(b"\xef\xbb\xbf" + json.dumps({"batch": [event()]}).encode()).batch.message_ids == ["m1"]


def test_text_beyond_ascii_is_kept() -> None:
    accepted = accept(json.dumps(event(event="Zażółć 🎉", userId="ü"), ensure_ascii=False))

    assert stored(accepted)["event"] == "Zażółć 🎉"
    assert accepted.batch.user_ids == ["ü"]


# Consent and integrations


def test_statement_14_events_are_judged_alone_and_the_batch_is_a_default() -> None:
    accepted = accept(
        event(consent={"measurement": True}),
        event(context={"consent": {"categoryPreferences": {"C2": False}}}),
        event(),
        consent={"marketing": True, "givenAt": 1_700_000_000_000},
    )

    assert stamps(accepted) == [{"measurement": True}, {"measurement": False}, {"marketing": True}]


def test_consent_in_the_context_of_the_batch_is_a_default_too() -> None:
    accepted = accept(event(), event(consent={}), context={"consentManagement": {"deniedConsentIds": ["C2"]}})

    assert stamps(accepted) == [{"measurement": False}, {}]


@pytest.mark.parametrize("own", [None, [], "granted", {}])
def test_default_of_the_batch_does_not_stand_in_for_consent_that_cannot_be_read(own: object) -> None:
    assert stamps(accept(event(consent=own), consent={"marketing": True})) == [{}]


def test_statement_4_malformed_values_are_counted_and_the_event_is_accepted() -> None:
    accepted = accept(event(consent={"a": "true", "b": 1, "c": True}), event(consent=[]), event())

    assert stamps(accepted) == [{"c": True}, {}, {}]
    assert accepted.malformed_consent == 3


def test_integrations_are_read_per_event_with_the_batch_as_default() -> None:
    accepted = accept(
        event(integrations={"All": False, "Google Analytics 4": {"clientId": "1"}}),
        event(integrations={"CRM": False, "x": "no", "y": True}),
        event(),
        event(integrations={}),
        integrations={"CRM": False},
    )

    assert [(c.all_off, c.integrations_off, c.integrations_on) for c in accepted.batch.combos] == [
        (True, (), ("googleanalytics4",)),
        (False, ("crm", "x"), ("y",)),
        (False, ("crm",), ()),
        (False, (), ()),
    ]


def test_property_named_like_consent_is_no_consent() -> None:
    accepted = accept(event(properties={"consent": {"marketing": True}, "context": 1, "text": '"consent'}))

    assert stamps(accepted) == [{}]
    assert reasons(accepted) == []
