from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.gateway.ip_policy import IpPolicy, stripped_address
from sluicegate.gateway.pixel import event_of_query
from tests.gateway.harness import BASIC, Answered, Client, RunningGateway, batch, track

JITSU = b"X-Write-Key: web-key:secret\r\n"
CONSENT = {"consent": {"categoryPreferences": {"measurement": True}}}


@pytest.mark.parametrize("path", ["/b", "/batch", "/b/"])
def test_phones_send_batches_without_a_version_in_the_path(gateway: RunningGateway, client: Client, path: str) -> None:
    answer = client.post(path, batch("a", "b"))

    assert answer.status == 200
    assert [event["messageId"] for event in gateway.stored()] == ["a", "b"]


@pytest.mark.parametrize("path", ["/api/s/track", "/api/s/s2s/track"])
def test_jitsu_is_known_by_the_first_half_of_its_key(gateway: RunningGateway, client: Client, path: str) -> None:
    answer = client.post(path, track("a", writeKey="web-key:***"), headers=JITSU)

    assert answer.status == 200
    assert [event["messageId"] for event in gateway.stored()] == ["a"]


@pytest.mark.parametrize(
    ("policy", "address", "stored"),
    [
        (b"remove", "203.0.113.9", None),
        (b"stripLastOctet", "203.0.113.9", "203.0.113.0"),
        (b"stripLastOctet", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        (b"stripLastOctet", "not an address", None),
        (b"keep", "203.0.113.9", "203.0.113.9"),
        (b"something new", "203.0.113.9", None),
    ],
)
def test_ip_policy_is_honoured_before_an_event_is_stored(
    gateway: RunningGateway, client: Client, policy: bytes, address: str, stored: str | None
) -> None:
    headers = JITSU + b"X-IP-Policy: " + policy + b"\r\n"

    client.post("/api/s/track", track("a", context={"ip": address, **CONSENT}), headers=headers)

    [event] = gateway.stored()
    assert event["context"].get("ip") == stored
    assert event["context"]["consent"] == CONSENT["consent"]


def test_ip_policy_holds_for_every_event_of_a_batch(gateway: RunningGateway, client: Client) -> None:
    events = [track("a", context={"ip": "203.0.113.9"}), track("b"), track("c", context={"\u0069p": "203.0.113.9"})]

    client.post("/v1/batch", {"batch": events}, headers=BASIC + b"X-IP-Policy: remove\r\n")

    assert [event.get("context", {}) for event in gateway.stored()] == [{}, {}, {}]


def test_gateway_adds_no_address(gateway: RunningGateway, client: Client) -> None:
    client.post("/v1/track", track("a"), headers=BASIC + b"Origin: https://a.example\r\n")

    assert "127.0.0.1" not in json.dumps(gateway.stored())


@given(st.ip_addresses(v=4))
def test_stripped_address_has_zero_as_last_octet(address: object) -> None:
    assert stripped_address(str(address)) == ".".join([*str(address).split(".")[:3], "0"])


@given(st.binary())
def test_every_policy_but_the_known_ones_removes(value: bytes) -> None:
    known = {b"keep": IpPolicy.KEEP, b"striplastoctet": IpPolicy.STRIP_LAST_OCTET}

    assert IpPolicy.of(value) is known.get(value.strip().lower(), IpPolicy.REMOVE)


def pixel(client: Client, path: str, headers: bytes = b"") -> Answered:
    return client.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode() + headers + b"\r\n")


def test_pixel_stores_the_event_in_its_query(gateway: RunningGateway, client: Client) -> None:
    query = "writeKey=web-key&anonymousId=a1&event=Mail+Opened&properties.list=news%20letter&context.page.path=%2F"

    answer = pixel(client, f"/pixel/v1/track?{query}")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body.startswith(b"GIF89a")
    [event] = gateway.stored()
    assert (event["type"], event["event"], event["anonymousId"]) == ("track", "Mail Opened", "a1")
    assert (event["properties"], event["context"]) == ({"list": "news letter"}, {"page": {"path": "/"}})
    assert "web-key" not in json.dumps(event)


@pytest.mark.parametrize("path", ["/v1/pixel/page", "/pixel/v1/page"])
def test_pixel_takes_an_event_as_base64(gateway: RunningGateway, client: Client, path: str) -> None:
    event = {"writeKey": "web-key", "userId": "u1", "name": "Häuser", "messageId": "m1", "context": CONSENT}
    data = base64.urlsafe_b64encode(json.dumps(event).encode()).decode()

    answers = [pixel(client, f"{path}?data={form}") for form in (data, data.rstrip("="), data.replace("=", "%3D"))]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [stored["name"] for stored in gateway.stored()] == ["Häuser"] * 3
    assert gateway.stored()[0]["context"] == CONSENT


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("anonymousId=a1&event=x", 401, "invalid_write_key"),
        ("writeKey=wrong-key&anonymousId=a1&event=x", 401, "invalid_write_key"),
        ("writeKey=web-key&event=x", 400, "bad_event"),
        ("writeKey=web-key&anonymousId=a1", 400, "bad_event"),
        ("writeKey=web-key&anonymousId=a1&event=%ff", 400, "not_utf8"),
        ("writeKey=web-key&a=1&a.b=2", 400, "bad_query"),
        ("writeKey=web-key&a=1&a=2", 400, "bad_query"),
        ("writeKey=web-key&data=%21", 400, "bad_query"),
        ("writeKey=web-key&data=bm90IGpzb24=", 400, "not_json"),
        ("writeKey=web-key&" + "&".join(f"p{n}=1" for n in range(200)), 400, "bad_query"),
    ],
)
def test_pixel_without_a_good_event_is_refused(client: Client, query: str, status: int, code: str) -> None:
    answer = pixel(client, f"/pixel/v1/track?{query}")

    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["message"]


def test_head_of_a_pixel_stores_nothing(gateway: RunningGateway, client: Client) -> None:
    path = "/pixel/v1/track?writeKey=web-key&anonymousId=a1&event=x"

    answer = client.ask(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), head=True)

    assert answer.status == 200
    assert gateway.stored() == []


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"))))
def test_query_of_texts_becomes_an_event_with_them(event: dict[str, str]) -> None:
    from urllib.parse import urlencode

    event = {name: value for name, value in event.items() if "." not in name and name not in ("data", "writeKey")}

    assert json.loads(event_of_query(urlencode(event).encode())) == event


def test_webhook_body_becomes_a_track_event(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/webhook?writeKey=web-key", {"order": 7, "nested": {"a": [1]}}, headers=b"")

    assert answer.status == 200
    [event] = gateway.stored()
    assert (event["type"], event["event"]) == ("track", "webhook_source_event")
    assert event["properties"] == {"order": 7, "nested": {"a": [1]}}
    assert event["anonymousId"]


def test_webhook_list_becomes_an_event_each(gateway: RunningGateway, client: Client) -> None:
    client.post("/v1/webhook", [{"n": 1}, {"n": 2}])

    assert [event["properties"]["n"] for event in gateway.stored()] == [1, 2]
    assert len({event["anonymousId"] for event in gateway.stored()}) == 2


def test_webhook_list_is_bounded_by_what_was_sent_and_not_by_what_becomes_of_it(client: Client) -> None:
    posted = [{"number": n, "text": "x" * 40} for n in range(2_500)]

    answer, too_many = client.post("/v1/webhook", posted), client.post("/v1/webhook", [*posted, {}])

    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (200, 2_500, [])
    assert (too_many.status, too_many.json["code"]) == (413, "too_many")


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "not_json"), (b"7", "not_object"), (b'"text"', "not_object"), (b"[1]", "not_object"), (b"{", "not_json")],
)
def test_webhook_body_that_is_no_object_is_refused(client: Client, body: bytes, code: str) -> None:
    answer = client.post("/v1/webhook", body)

    assert (answer.status, answer.json["code"]) == (400, code)


def test_jitsu_event_without_ids_gets_one_of_its_own(gateway: RunningGateway, client: Client) -> None:
    for message_id in ("a", "b"):
        event = {"event": "Seen", "messageId": message_id, "anonymousId": None, "context": CONSENT}
        assert client.post("/api/s/track", event, headers=JITSU).json["accepted"] == 1

    first, second = gateway.stored()
    assert first["anonymousId"]
    assert first["anonymousId"] != second["anonymousId"]
    assert first["context"] == CONSENT


def test_event_without_ids_is_refused_elsewhere(client: Client) -> None:
    answer = client.post("/v1/track", {"event": "Seen", "messageId": "a"})

    assert (answer.status, answer.json["accepted"]) == (200, 0)
