from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.meta import Meta, normalised
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from sluicegate.testing.destination_contract import make_batch, make_destination
from sluicegate.testing.http_receiver import Reply, Request
from tests.destinations.vendor_contract import VendorContract, track

NOW_MS = 1_768_386_031_500
ORDER: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "user-1",
    "timestamp": "2026-01-14T10:20:30.456Z",
    "context": {
        "ip": "203.0.113.9",
        "userAgent": "Mozilla/5.0",
        "page": {"url": "https://shop.example/p"},
        "traits": {"email": " Jane@Example.com", "phone": "+49 (151) 1234", "birthday": "1990-05-17"},
    },
    "properties": {
        "revenue": "25.00",
        "currency": "eur",
        "order_id": "o-1",
        "products": [{"product_id": "p", "price": 3, "quantity": 2}],
    },
}


def meta_error(code: int, status: int = 400) -> Reply:
    return Reply(status, body=msgspec.json.encode({"error": {"message": "because", "code": code}}))


def sent(tmp_path: Path, event: dict[str, Any], **settings: Any) -> dict[str, Any]:
    meta = make_destination(Meta, tmp_path, pixel_id="1", access_token="secret", **settings)
    assert isinstance(meta, Meta)
    plan = meta.preview(Batch([1], ["m-1"], [msgspec.json.encode(event)]), NOW_MS)
    assert not plan.rejected, plan.rejected
    found: dict[str, Any] = msgspec.json.decode(plan.requests[0].body)["data"][0]
    return found


class TestMeta(VendorContract):
    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Meta, tmp_path, url=self.vendor.url, pixel_id="1", access_token="secret-token")

    def ids(self, body: Any) -> list[str]:
        return [event["event_id"] for event in body["data"]]

    def broken_event(self) -> bytes | None:
        return track("m-2").replace(b'"timestamp":"2', b'"timestamp":"3')

    def test_one_event_that_fails_the_batch_is_found(self, destination: Destination) -> None:
        def answer(request: Request) -> Reply:
            return meta_error(100) if b"m-1" in request.body else Reply(body=b'{"events_received":1}')

        self.vendor.answer = answer

        with pytest.raises(Rejected) as raised:
            destination.deliver(self.batch(["m-0", "m-1"]))

        assert isinstance(raised.value.reasons, str)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (190, CredentialsRefused),
            (275, CredentialsRefused),
            (104, CredentialsRefused),
            (2500, CredentialsRefused),
            (2635, CredentialsRefused),
            (2, Retry),
            (17, Retry),
            (80003, Retry),
        ],
    )
    def test_code_of_the_graph_api_decides(
        self, destination: Destination, code: int, kind: type[BaseException]
    ) -> None:
        self.vendor.answer = lambda request: meta_error(code)

        with pytest.raises(kind, match="because"):
            destination.deliver(self.batch(["m-1"]))

    @pytest.mark.parametrize("code", [[190], {"code": 190}, "190", None])
    def test_code_that_is_no_number_leaves_it_to_the_status(self, destination: Destination, code: object) -> None:
        body = msgspec.json.encode({"error": {"code": code}})
        self.vendor.answer = lambda request: Reply(401, body=body)

        with pytest.raises(CredentialsRefused, match="401"):
            destination.deliver(self.batch(["m-1"]))

    def test_pixel_that_is_not_there_pauses_and_makes_no_dead_letters(self, destination: Destination) -> None:
        said = {"message": "Object with ID '1' does not exist", "code": 100, "error_subcode": 33}
        self.vendor.answer = lambda request: Reply(400, body=msgspec.json.encode({"error": said}))

        with pytest.raises(CredentialsRefused, match="does not exist"):
            destination.deliver(self.batch(["m-1", "m-2"]))


def test_order_becomes_a_purchase(tmp_path: Path) -> None:
    event = sent(tmp_path, ORDER)

    assert (event["event_name"], event["event_time"], event["event_id"]) == ("Purchase", 1_768_386_030, "m-1")
    assert event["custom_data"] == {
        "currency": "EUR",
        "value": 25.0,
        "contents": [{"id": "p", "quantity": 2, "item_price": 3}],
        "content_ids": ["p"],
        "content_type": "product",
        "num_items": 2,
        "order_id": "o-1",
    }
    user = event["user_data"]
    assert user["em"] == sha256(b"jane@example.com").hexdigest()
    assert user["ph"] == sha256(b"491511234").hexdigest()
    assert user["db"] == sha256(b"19900517").hexdigest()
    assert user["external_id"] == [sha256(b"user-1").hexdigest()]
    assert user["client_ip_address"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("key", "value", "normal"),
    [
        ("em", " A@B.com ", "a@b.com"),
        ("ph", "+49 (0) 151-1", "4901511"),
        ("fn", "Mary-Ann", "maryann"),
        ("ge", "Female", "f"),
        ("ct", "New York", "newyork"),
        ("zp", "94025-1234", "94025"),
        ("country", "DE", "de"),
        ("country", "Germany", None),
        ("em", "a" * 64, "a" * 64),
    ],
)
def test_values_are_normalised_as_meta_wants_them(key: str, value: str, normal: str | None) -> None:
    assert normalised(key, value) == normal


def test_data_use_is_limited_when_consent_says_no(tmp_path: Path) -> None:
    context = {**ORDER["context"], "consent": {"categoryPreferences": {"marketing": False}}}

    assert sent(tmp_path, {**ORDER, "context": context}, limited_data_use="event")["data_processing_options"] == ["LDU"]
    assert "data_processing_options" not in sent(tmp_path, ORDER, limited_data_use="event")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"timestamp": "2026-01-14T10:22:00Z"}, "minute ahead"),
        ({"properties": {}}, "currency and value"),
        ({"context": {"page": {"url": "https://shop.example"}}}, "userAgent"),
    ],
)
def test_what_would_fail_the_whole_batch_is_rejected_before(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    meta = make_destination(Meta, tmp_path, pixel_id="1", access_token="secret")
    assert isinstance(meta, Meta)

    plan = meta.preview(make_batch(["m-1"], raws=[msgspec.json.encode({**ORDER, **change})]), NOW_MS)

    assert rule in plan.rejected[0]
    assert plan.requests == []


def test_event_without_a_page_is_not_said_to_be_of_a_website(tmp_path: Path) -> None:
    event = {**ORDER, "context": {"userAgent": "okhttp/4", "traits": {"email": "a@example.com"}}}

    assert sent(tmp_path, event)["action_source"] == "other"


def test_event_id_of_the_browser_pixel_is_kept(tmp_path: Path) -> None:
    event = {**ORDER, "properties": {**ORDER["properties"], "event_id": "pixel-9"}}

    assert sent(tmp_path, event)["event_id"] == "pixel-9"


def test_placeholder_is_nobody(tmp_path: Path) -> None:
    event = {**ORDER, "userId": "undefined", "anonymousId": "visitor-1"}

    assert sent(tmp_path, event)["user_data"]["external_id"] == [sha256(b"visitor-1").hexdigest()]
    assert "external_id" not in sent(tmp_path, {**event, "anonymousId": "null"})["user_data"]
