import json

import pytest

from sluicegate.acceptance import Acceptor, Reason, write_key_of
from sluicegate.config.model import GatewayConfig
from sluicegate.errors import BodyRefused
from tests.accepting import RECEIVED, RECEIVED_MS, accept, event, reasons, single, stamps, stored


def test_single_event_takes_its_type_from_the_address() -> None:
    accepted = single(b' {"event":"A","userId":"u","writeKey":"k"} ')

    assert stored(accepted)["type"] == "track"
    assert accepted.batch.combos[0].type == "track"


def test_single_event_of_another_type_is_rejected() -> None:
    assert reasons(single(json.dumps(event()).encode(), type="page")) == [(0, Reason.TYPE_DIFFERS)]


@pytest.mark.parametrize(
    ("body", "code"), [(b"[]", "not_object"), (b"{", "not_json"), (b"", "not_json"), (b'{"a":NaN}', "not_json")]
)
def test_single_body_that_is_no_json_object_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        single(body)

    assert refused.value.code == code


@pytest.mark.parametrize("first", [b"1", b"", b'{"a":"', b"\xff"])
def test_events_from_a_message_are_judged_alone_however_they_look_when_joined(first: bytes) -> None:
    good = json.dumps(event()).encode()
    events = [first, b'"},' + good, good]

    accepted = Acceptor(GatewayConfig()).accept_events(
        events, consent={"marketing": True}, source="shop", received_at_ms=RECEIVED_MS
    )

    assert [index for index, _ in reasons(accepted)] == [0, 1]
    assert accepted.batch.message_ids == ["m1"]
    assert stamps(accepted) == [{"marketing": True}]
    assert accepted.batch.combos[0].source == "shop"


def test_events_from_a_message_may_have_space_around_them() -> None:
    accepted = Acceptor(GatewayConfig()).accept_events(
        [b" \n" + json.dumps(event()).encode() + b"\t"], consent=None, source="shop", received_at_ms=RECEIVED_MS
    )

    assert stored(accepted) == {**event(), "receivedAt": RECEIVED}


def test_integration_named_twice_is_off_and_huge_stamps_are_read_each_time() -> None:
    twice = json.dumps(event(integrations="X")).replace('"X"', '{"CRM":false,"CRM":true,"All":false,"all":true}')
    huge = event(consent={f"purpose {number} {'x' * 20}": True for number in range(60)})

    accepted = accept(twice, huge, huge)

    assert accepted.batch.combos[0].integrations_off == ("crm",)
    assert accepted.batch.combos[0].all_off
    assert [len(stamp) for stamp in stamps(accepted)] == [0, 60, 60]


def test_too_many_events_in_a_message_are_refused() -> None:
    with pytest.raises(BodyRefused):
        Acceptor(GatewayConfig(max_batch_events=1)).accept_events(
            [b"{}", b"{}"], consent=None, source="shop", received_at_ms=RECEIVED_MS
        )


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"batch":[],"writeKey":"k"}', "k"),
        (b'{"batch":[{"writeKey":"k"},{"writeKey":"k"},{}]}', "k"),
        (b'{"batch":[{"writeKey":"k"},{"writeKey":"other"}]}', None),
        (b'{"event":"A","writeKey":"k"}', "k"),
        (b'{"writeKey":5}', None),
        (b'{"batch":[{"writeKey":[]}]}', None),
        (b'{"batch":3}', None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"writeKey":"\xff"}', None),
        (b"[" * 100_000, None),
        (b'{"batch":[{},{"properties":NaN}],"writeKey":"k"}', "k"),
        (b'{"writeKey":"k","batch":[{"title":"\\ud83d"}]}', "k"),
        (b'{"batch":[{"writeKey":"k"},{"writeKey":"k","title":"\\ud83d"},3]}', "k"),
        (b'{"batch":[{"writeKey":"k"},{"writeKey":"other"},NaN]}', None),
        (b'{"batch":[{"writeKey":"k"},NaN],"writeKey":NaN}', None),
        (b'{"batch":[NaN]}', None),
        (b'{"batch":[{"writeKey":"k"}', None),
    ],
)
def test_write_key_is_read_from_the_body_or_its_events(body: bytes, key: str | None) -> None:
    assert write_key_of(body) == key


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"userId": 7},
        {"userId": "", "anonymousId": "a"},
        {"type": "page", "event": None},
        {"consent": {"marketing": True}},
        {"context": {"consent": {"categoryPreferences": {"marketing": False}}, "page": {"url": "x"}}},
        {"integrations": {"All": False, "Webhook": True}},
        {"sentAt": "2026-01-31T08:00:00.000Z"},
        {"properties": {"note": 'says "consent" twice', "consent": 1}},
        {"timestamp": "1960-01-01T00:00:00Z"},
        {"receivedAt": "2020-01-01T00:00:00Z"},
        {"messageId": None},
    ],
    ids=str,
)
def test_single_event_is_read_the_same_way_quickly_and_closely(change: dict[str, object]) -> None:
    event = {"type": "track", "event": "E", "messageId": "m", "userId": "u", "timestamp": "2026-01-31T08:00:00.000Z"}
    body = json.dumps({**event, **change}).encode()
    received_at_ms = 1_769_846_400_000
    acceptor = Acceptor(GatewayConfig())
    kind = str(change.get("type", "track"))

    quick = acceptor.accept_single(body, type=kind, source="s", received_at_ms=received_at_ms)
    # White space in front makes it a body that is looked at closely.
    close = acceptor.accept_single(b" " + body, type=kind, source="s", received_at_ms=received_at_ms)

    for batch in (quick.batch, close.batch):
        if change.get("messageId", "m") is None:
            batch.message_ids = ["any"]
            batch.events = [json.dumps({**json.loads(batch.events[0]), "messageId": "any"}).encode()]
    assert [json.loads(e) for e in quick.batch.events] == [json.loads(e) for e in close.batch.events]
    quick.batch.events, close.batch.events = [], []
    quick.batch.n_bytes = close.batch.n_bytes = 0
    assert quick == close
