from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.ga4 import Ga4
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import FOREIGN, Plan
from sluicegate.errors import ConfigError
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import Reply, Request
from tests.destinations.vendor_contract import VendorContract, body_of, track

NOW_MS = 1_768_386_031_500
ISO = "2026-01-14T10:20:30.456Z"


def plan(tmp_path: Path, *events: dict[str, Any], **settings: Any) -> Plan:
    settings = {"measurement_id": "G-1", "api_secret": "hidden-secret", **settings}
    ga4 = make_destination(Ga4, tmp_path, **settings)
    assert isinstance(ga4, Ga4)
    raws = [
        msgspec.json.encode({"type": "track", "timestamp": ISO, "anonymousId": "anon-1", **event}) for event in events
    ]
    return ga4.preview(Batch(list(range(len(raws))), ["m"] * len(raws), raws), NOW_MS)


def only(found: Plan) -> Any:
    (request,) = found.requests
    assert not found.rejected
    return msgspec.json.decode(request.body)


class TestGa4(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Ga4, tmp_path, url=self.vendor.url, measurement_id="G-1", api_secret="secret-1")

    def ids(self, body: Any) -> list[str]:
        return [event["params"]["mid"] for event in body["events"]]

    def broken_event(self) -> bytes | None:
        return track("m-2").replace(b'"Tested"', b'"session_start"')

    def test_events_of_several_clients_that_were_not_asked_yet_are_sent_again(self, destination: Destination) -> None:
        answers = [Reply(), Reply(503, {"Retry-After": "3"})]
        self.vendor.answer = lambda request: answers[min(1, len(self.vendor.requests) - 1)]
        raws = [track(f"m-{n}").replace(b"visitor-1", b"visitor-%d" % n) for n in range(3)]

        outcome = destination.deliver(make_batch(["m-0", "m-1", "m-2"], raws=raws))

        assert isinstance(outcome, Outcome)
        assert (outcome.again, outcome.after_s, outcome.status) == (frozenset({1, 2}), 3.0, 503)
        assert self.received() == ["m-0"]

    def test_one_request_has_the_events_of_one_client(self, destination: Destination) -> None:
        raws = [track(f"m-{n}").replace(b"visitor-1", b"visitor-%d" % (n % 2)) for n in range(60)]

        assert destination.deliver(make_batch([f"m-{n}" for n in range(60)], raws=raws)) is None

        sent: list[Request] = self.vendor.requests
        assert [(body_of(one)["client_id"], len(body_of(one)["events"])) for one in sent] == [
            ("visitor-0", 25),
            ("visitor-1", 25),
            ("visitor-0", 5),
            ("visitor-1", 5),
        ]


def test_order_becomes_a_purchase(tmp_path: Path) -> None:
    product = {"product_id": "p", "name": "Uno", "price": "3", "quantity": 2, "position": 2, "brand": "Mattel"}
    order = {"order_id": 5, "total": "27.50", "tax": 2, "currency": "eur", "coupon": "c", "products": [product]}

    body = only(plan(tmp_path, {"event": "Order Completed", "properties": order, "userId": "u"}))

    assert (body["client_id"], body["user_id"]) == ("anon-1", "u")
    (event,) = body["events"]
    assert event["name"] == "purchase"
    assert event["timestamp_micros"] == 1_768_386_030_456_000
    assert event["params"] == {
        "transaction_id": "5",
        "value": 27.5,
        "tax": 2,
        "currency": "EUR",
        "coupon": "c",
        "engagement_time_msec": 1,
        "items": [
            {"item_id": "p", "item_name": "Uno", "price": 3, "quantity": 2, "index": 2, "item_brand": "Mattel"},
        ],
    }


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        ({"event": "x" * 41}, "40 characters"),
        ({"event": "2nd step"}, "begins with a letter"),
        ({"event": "Größe"}, "begins with a letter"),
        ({"event": "session_start"}, "reserved"),
        ({"event": "Google_thing"}, "reserved"),
        ({"event": ""}, "no name"),
        ({"event": "A", "timestamp": "2026-01-14T10:36:00Z"}, "15 minutes"),
        ({"event": "A", "anonymousId": None}, "client_id"),
        ({"event": "Order Completed", "properties": {"order_id": "1", "total": 5}}, "currency"),
        ({"event": "Order Completed", "properties": {"currency": "EUR", "total": 5}}, "order_id"),
        ({"event": "Order Refunded", "properties": {"currency": "EUR", "order_id": ""}}, "order_id"),
    ],
)
def test_what_ga4_drops_in_silence_is_rejected_with_the_rule(tmp_path: Path, event: dict[str, Any], rule: str) -> None:
    found = plan(tmp_path, event)

    assert found.requests == []
    assert rule in found.rejected[0]


def test_order_with_the_number_0_is_an_order(tmp_path: Path) -> None:
    body = only(plan(tmp_path, {"event": "Order Completed", "properties": {"order_id": 0, "currency": "EUR"}}))

    assert body["events"][0]["params"]["transaction_id"] == "0"


def test_kinds_without_counterpart_are_skipped(tmp_path: Path) -> None:
    found = plan(tmp_path, {"type": "identify", "userId": "u"}, {"type": "alias", "userId": "u", "previousId": "v"})

    assert found.skipped == {0: FOREIGN, 1: FOREIGN}


def test_parameters_keep_the_limits(tmp_path: Path) -> None:
    many = {f"p{n}": "x" * 200 for n in range(40)} | {"_own": 1, "$x": 1}

    params = only(plan(tmp_path, {"event": "A", "properties": many}))["events"][0]["params"]

    assert len(params) == 25
    assert all(len(value) <= 100 for value in params.values() if isinstance(value, str))
    assert not {"_own", "$x"} & set(params)


def segment(**said: object) -> dict[str, Any]:
    return {"context": {"consent": {"categoryPreferences": said}}}


def rudderstack(**ids: list[str]) -> dict[str, Any]:
    return {"context": {"consentManagement": ids}}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        pytest.param({}, "DENIED", id="nothing"),
        pytest.param(segment(marketing=True), "GRANTED", id="Segment-granted"),
        pytest.param(segment(marketing=False), "DENIED", id="Segment-denied"),
        pytest.param(segment(marketing="true"), "DENIED", id="Segment-no-boolean"),
        pytest.param(segment(measurement=True), "DENIED", id="Segment-another-purpose"),
        pytest.param(rudderstack(allowedConsentIds=["marketing"]), "GRANTED", id="RudderStack-granted"),
        pytest.param(
            rudderstack(allowedConsentIds=["marketing"], deniedConsentIds=["marketing"]),
            "DENIED",
            id="RudderStack-both",
        ),
        pytest.param({"consent": {"marketing": True, "givenAt": 1}}, "GRANTED", id="c15t-granted"),
        pytest.param({"consent": {"marketing": False}}, "DENIED", id="walkerOS-denied"),
        pytest.param({"consent": {"marketing": False}, **segment(marketing=True)}, "DENIED", id="dialects-disagree"),
        pytest.param({"consent": ["marketing"]}, "DENIED", id="wrong-type"),
    ],
)
def test_statement_46_ga4_is_always_told_and_denied_unless_marketing_is_granted(
    tmp_path: Path, said: dict[str, Any], sent: str
) -> None:
    body = only(plan(tmp_path, {"event": "A", **said}))

    assert body["consent"] == {"ad_user_data": sent, "ad_personalization": sent}


def test_statement_46_each_request_has_the_consent_of_its_own_events(tmp_path: Path) -> None:
    found = plan(tmp_path, {"event": "A", **segment(marketing=True)}, {"event": "B"})

    bodies = [msgspec.json.decode(request.body) for request in found.requests]
    assert [(body["consent"]["ad_user_data"], body["events"][0]["name"]) for body in bodies] == [
        ("GRANTED", "A"),
        ("DENIED", "B"),
    ]


def test_consent_can_be_left_out_by_configuration(tmp_path: Path) -> None:
    body = only(plan(tmp_path, {"event": "A"}, ad_user_data="unsaid", ad_personalization="unsaid"))

    assert "consent" not in body


def test_names_can_be_configured(tmp_path: Path) -> None:
    body = only(plan(tmp_path, {"event": "2nd step"}, event_names={"2nd step": "second_step"}))

    assert body["events"][0]["name"] == "second_step"


def test_stream_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="measurement_id"):
        plan(tmp_path, {"event": "A"}, measurement_id="")


@pytest.mark.parametrize("name", ["Product Shared", "product_shared", "PRODUCT  shared", "Cart Shared"])
def test_recommended_names_are_found_however_they_are_written(tmp_path: Path, name: str) -> None:
    body = only(plan(tmp_path, {"event": name}))

    assert [event["name"] for event in body["events"]] == ["share"]


def test_client_is_found_where_rudderstack_clients_put_it(tmp_path: Path) -> None:
    ids = [{"type": "ga4AppInstanceId", "id": "a" * 32}, {"type": "ga4ClientId", "id": "123.456"}]

    web = only(plan(tmp_path, {"event": "Tested", "context": {"externalId": ids}}))
    app = only(
        plan(tmp_path, {"event": "Tested", "context": {"externalId": ids}}, measurement_id="", firebase_app_id="1")
    )

    assert (web["client_id"], app["app_instance_id"]) == ("123.456", "a" * 32)


@pytest.mark.parametrize("name", ["first_open_after_install", "google_x", "_x", "user_id"])
def test_reserved_user_properties_are_left_out(tmp_path: Path, name: str) -> None:
    event = {"event": "Tested", "context": {"traits": {name: "x", "plan": "pro"}}}

    body = only(plan(tmp_path, event, user_properties=[name, "plan"]))

    assert body["user_properties"] == {"plan": {"value": "pro"}}


@pytest.mark.parametrize(("user", "visitor", "client"), [("null", "a", "a"), ("u", "undefined", "u"), ("0", "0", "0")])
def test_placeholder_is_nobody(tmp_path: Path, user: str, visitor: str, client: str) -> None:
    body = only(plan(tmp_path, {"event": "Tested", "userId": user, "anonymousId": visitor}))

    assert (body["client_id"], body.get("user_id")) == (client, "u" if user == "u" else None)
