from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.acceptance import Acceptance, Acceptor, Reason
from sluicegate.config.model import GatewayConfig
from sluicegate.errors import BodyRefused

RECEIVED_MS = 1_795_453_200_000
ONCE = ("userId", "anonymousId", "messageId", "integrations", "context", "consent")
COMMAS = (",", ", ", " ,\n")
RESTS = ("", ',"sentAt":"x"', ',"I":[1]')

members = st.lists(
    st.sampled_from(
        [
            '"userId":"u1"',
            '"userId":null',
            '"userId" : 7',
            r'"user\u0049d":"u2"',
            '"anonymousId":"a1"',
            '"messageId":"m1"',
            '"integrations":{"All":true}',
            '"context":{"consent":{},"userId":"x"}',
            '"context":{}',
            '"consent":{"a":true}',
            '"properties":{"userId":"x","messageId":"y","userId":"z","orderId":1,"INTEGER":"I"}',
            '"traits":{"anonymousId":"userId","\\"userId\\"":2}',
            '"I":"III"',
        ]
    ),
    max_size=7,
)


def event(extra: list[str]) -> str:
    fixed = ['"type":"track"', '"event":"A"', '"timestamp":"2026-11-23T16:59:59Z"']
    return "{" + ",".join([*fixed, *extra]) + "}"


def accept(body: str) -> Acceptance:
    return Acceptor(GatewayConfig()).accept_batch(body.encode(), source="web", received_at_ms=RECEIVED_MS)


def is_repeated(text: str) -> bool:
    names = [name for name, _ in json.loads(text, object_pairs_hook=list)]
    return any(names.count(name) > 1 for name in ONCE)


@given(st.lists(members, min_size=1, max_size=4), st.sampled_from(COMMAS), st.sampled_from(RESTS))
def test_event_with_an_id_twice_is_never_accepted_and_spoils_no_other(
    batch: list[list[str]], comma: str, rest: str
) -> None:
    events = [event(extra) for extra in batch]

    accepted = accept('{"batch":[' + comma.join(events) + "]" + rest + "}")

    found = [r.index for r in accepted.rejected if r.reason is Reason.DUPLICATE_KEY]
    assert found == [index for index, text in enumerate(events) if is_repeated(text)]


@given(members, st.sampled_from(["track", "page"]))
def test_single_event_with_an_id_twice_is_never_accepted(extra: list[str], kind: str) -> None:
    text = event(extra).replace("track", kind)

    accepted = Acceptor(GatewayConfig()).accept_single(
        text.encode(), type=kind, source="web", received_at_ms=RECEIVED_MS
    )

    assert any(r.reason is Reason.DUPLICATE_KEY for r in accepted.rejected) is is_repeated(text)


EVENT = event(['"userId":"u1"', '"messageId":"m1"'])
OTHER = event(['"userId":"u2"', '"messageId":"m2"'])
TWICE = {
    "another batch": f'{{"batch":[{OTHER}],"batch":[{EVENT}]}}',
    "the same batch": f'{{"batch":[{EVENT}],"batch":[{EVENT}]}}',
    "a batch that begins like the other": f'{{"batch":[{EVENT},{OTHER}],"batch":[{EVENT},{EVENT}]}}',
    "a longer batch first": f'{{"batch":[{EVENT},{OTHER},{OTHER}],"batch":[{EVENT}]}}',
    "a shorter batch first": f'{{"batch":[{EVENT}],"batch":[{EVENT},{OTHER},{OTHER}]}}',
    "an empty batch first": f'{{"batch":[],"batch":[{EVENT}]}}',
    "an empty batch last": f'{{"batch":[{EVENT}],"batch":[]}}',
    "a batch of spaces": f'{{"batch":[ {EVENT} , {OTHER} ],"batch":[ {EVENT} , {OTHER} ]}}',
    "a batch by an escape": f'{{"batch":[{EVENT}],"b\\u0061tch":[{OTHER}]}}',
    "a write key": f'{{"writeKey":"a","batch":[{EVENT}],"writeKey":"b"}}',
    "a write key by an escape": f'{{"writeKey":"a","batch":[{EVENT}],"write\\u004bey":"b"}}',
    "a time": f'{{"sentAt":"a","batch":[{EVENT}],"sentAt":"b"}}',
    "integrations": f'{{"integrations":{{}},"batch":[{EVENT}],"integrations":{{"All":false}}}}',
    "consent": f'{{"consent":{{}},"batch":[{EVENT}],"consent":{{}}}}',
    "a context": f'{{"context":{{}},"batch":[{EVENT}],"context":{{}}}}',
    "Global Privacy Control": f'{{"context":{{"gpc":true}},"batch":[{EVENT}],"context":{{"library":{{}}}}}}',
    "a TC string": f'{{"context":{{"tcf":{{"tcString":"x"}}}},"batch":[{EVENT}],"context":null}}',
}


@pytest.mark.parametrize("name", TWICE)
def test_batch_that_has_a_key_of_its_own_twice_is_refused(name: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        accept(TWICE[name])

    assert (refused.value.code, refused.value.status) == ("duplicate_key", 400)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"batch":[{EVENT},{EVENT},{EVENT}]}}',
        f'{{"batch":[ {EVENT} ,{OTHER}, {EVENT}\n]}}',
        f'{{ "batch" : [ {EVENT}, {OTHER} ] , "writeKey" : "a" }}',
        f'{{"context":{{"batch":[{EVENT}]}},"batch":[{EVENT}],"writeKey":"a"}}',
        f'{{"a":"\\"batch\\":[","batch":[{EVENT}]}}',
        f'{{"batch":[{EVENT}],"b":[{EVENT}]}}',
    ],
)
def test_batch_that_has_each_key_once_is_accepted_however_it_is_written(body: str) -> None:
    accepted = accept(body)

    assert (len(accepted.batch), accepted.rejected) == (len(json.loads(body)["batch"]), [])


def test_event_with_more_than_10_000_keys_is_rejected_alone() -> None:
    limits = GatewayConfig(max_event_bytes=400_000)
    acceptor = Acceptor(limits)

    def of(n_keys: int) -> str:
        return event(['"userId":"u"', '"messageId":"m"', '"p":{' + ",".join(['"k" :1'] * n_keys) + "}"])

    def reasons(*events: str) -> list[Any]:
        body = f'{{"batch":[{",".join(events)}]}}'.encode()
        found = acceptor.accept_batch(body, source="web", received_at_ms=RECEIVED_MS)
        return [(rejection.index, rejection.reason) for rejection in found.rejected]

    assert reasons(EVENT, of(9_994), event(['"userId":"u"', '"x":"' + ":" * 20_000 + '"'])) == []
    assert reasons(EVENT, of(9_995)) == [(1, Reason.TOO_MANY_KEYS)]
