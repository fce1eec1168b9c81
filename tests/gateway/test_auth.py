from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
from collections.abc import Sequence

import pytest

from sluicegate.config.secret import Secret
from sluicegate.gateway import auth
from sluicegate.gateway.auth import MAX_CACHED, WriteKeys, key_of_authorization
from tests.gateway.harness import Client, RunningGateway, batch, track


def basic(user: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(user.encode()) + b"\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        basic("web-key:"),
        basic("web-key:anything"),
        basic("web-key"),
        b"authorization: basic " + base64.b64encode(b"web-key:") + b"\r\n",
        b"Authorization: Bearer web-key\r\n",
        b"X-Write-Key: web-key\r\n",
        b"X-Write-Key: web-key:secret\r\n",
    ],
)
def test_key_in_a_header_is_accepted(client: Client, headers: bytes) -> None:
    assert client.post("/v1/track", track(), headers=headers).status == 200


@pytest.mark.parametrize("path", ["/v1/track?writeKey=web-key", "/v1/track?a=b&writeKey=web%2Dkey"])
def test_key_in_the_query_is_accepted(client: Client, path: str) -> None:
    assert client.post(path, track(), headers=b"").status == 200


def test_key_in_the_body_is_accepted(client: Client) -> None:
    single = client.post("/v1/track", track(writeKey="web-key"), headers=b"")
    many = client.post("/v1/batch", {**batch("a"), "writeKey": "web-key"}, headers=b"")

    assert (single.status, many.status) == (200, 200)


def test_event_that_is_no_json_hides_no_key_from_those_beside_it(gateway: RunningGateway, client: Client) -> None:
    half_a_picture = track("b", title="\ud83d")

    answer = client.post("/v1/batch", {"writeKey": "web-key", "batch": [track("a"), half_a_picture]}, headers=b"")

    assert (answer.status, answer.json["accepted"]) == (200, 1)
    assert [rejected["index"] for rejected in answer.json["rejected"]] == [1]
    assert [event["messageId"] for event in gateway.stored()] == ["a"]


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        basic("nobody:"),
        basic(":web-key"),
        b"Authorization: Basic !!!\r\n",
        b"Authorization: Digest web-key\r\n",
        b"Authorization: Bearer \r\n",
        b"Authorization: Bearer web-ke\r\n",
        b"Authorization: Bearer web-key2\r\n",
        b"X-Write-Key: :web-key\r\n",
        b"X-Write-Key: " + b"k" * 5_000 + b"\r\n",
    ],
)
def test_missing_or_unknown_key_is_401(client: Client, headers: bytes) -> None:
    answer = client.post("/v1/track", track(), headers=headers)

    assert (answer.status, answer.json["code"]) == (401, "invalid_write_key")


def test_first_key_decides_even_if_a_later_one_is_right(client: Client) -> None:
    answer = client.post("/v1/track?writeKey=web-key", track(writeKey="web-key"), headers=basic("nobody:"))

    assert answer.status == 401


@pytest.mark.parametrize("headers", [basic("web-key:"), b"X-Write-Key: web-key:secret\r\n"])
def test_key_that_a_single_event_repeats_is_not_stored(gateway: RunningGateway, client: Client, headers: bytes) -> None:
    answer = client.post("/v1/track", track("a", writeKey="web-key"), headers=headers)

    assert answer.status == 200
    assert [event["writeKey"] for event in gateway.stored()] == ["***"]


def test_key_that_the_events_of_a_browser_repeat_is_not_stored(gateway: RunningGateway, client: Client) -> None:
    events = [track(f"m{number}", writeKey="web-key", properties={"pad": "x" * 500}) for number in range(10)]

    answer = client.post("/v1/b", {"batch": events}, headers=basic("web-key:") + b"Origin: https://shop.example\r\n")

    assert answer.status == 200
    assert {event["writeKey"] for event in gateway.stored()} == {"***"}


def test_key_in_a_single_event_of_any_size_is_not_stored(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/track", track("a", writeKey="web-key", properties={"pad": "x" * 5_000}))

    assert answer.status == 200
    assert [event["writeKey"] for event in gateway.stored()] == ["***"]


def test_key_in_the_events_of_a_small_batch_is_not_stored(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/batch", {"batch": [track("a", writeKey="web-key")]})

    assert answer.status == 200
    assert [event["writeKey"] for event in gateway.stored()] == ["***"]


@pytest.mark.parametrize("spelling", [b"web\\u002dkey", b"web\\u002Dkey", b"\\u0077eb-key", b"web-key:***"])
def test_key_is_not_stored_in_whatever_spelling_it_comes(
    gateway: RunningGateway, client: Client, spelling: bytes
) -> None:
    event = json.dumps(track("a", writeKey="web-key", properties={"writeKey": "other"})).encode()

    answer = client.post("/v1/track", event.replace(b"web-key", spelling))

    assert answer.status == 200
    assert [event["writeKey"] for event in gateway.stored()] == ["***"]
    assert gateway.stored()[0]["properties"] == {"writeKey": "other"}


@pytest.mark.parametrize("name", [b"write\\u004bey", b"write\\u004Bey", b"\\u0077\\u0072iteKey"])
def test_key_that_authorises_from_a_member_with_escapes_in_its_name_is_not_stored(
    gateway: RunningGateway, client: Client, name: bytes
) -> None:
    event = json.dumps(track("a", writeKey="web-key")).encode()

    answer = client.post("/v1/track", event.replace(b"writeKey", name), headers=b"")

    assert answer.status == 200
    assert [event["writeKey"] for event in gateway.stored()] == ["***"]


def test_text_that_happens_to_be_the_key_is_stored_as_it_is(gateway: RunningGateway, client: Client) -> None:
    event = track("a", writeKey="web-key", properties={"web-key": "web-key"})

    answer = client.post("/v1/track", event)

    assert answer.status == 200
    (stored,) = gateway.stored()
    assert (stored["writeKey"], stored["properties"]) == ("***", {"web-key": "web-key"})


def test_every_key_is_compared_by_digest_without_early_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = WriteKeys({"a": Secret("key-a"), "b": Secret("key-b"), "c": Secret("key-c")})

    found = [keys.source(key) for key in (b"key-a", b"key-c", b"nobody")]

    assert found == ["a", "c", None]
    assert len(compared) == 9
    assert {b for _, b in compared} == set(_sha256([b"key-a", b"key-c", b"nobody"]))


def test_remembered_header_is_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = WriteKeys({"a": Secret("key-a")})
    header = b"Bearer key-a"
    keys.source_of_header(header)
    monkeypatch.setattr(auth, "hmac", None)

    assert keys.source_of_header(header) == "a"


def test_remembered_headers_are_bounded() -> None:
    keys = WriteKeys({"a": Secret("key-a")})

    for number in range(3 * MAX_CACHED):
        keys.source_of_header(b"Basic " + base64.b64encode(b"key-a:%d" % number))

    assert len(keys._known) <= MAX_CACHED


def test_keys_are_kept_as_digests_only() -> None:
    keys = WriteKeys({"a": Secret("key-a"), "b": Secret("key-b")})
    for header in (b"Bearer key-a", b"Basic " + base64.b64encode(b"key-b:")):
        assert keys.source_of_header(header)

    kept = pickle.dumps(vars(keys))

    for told in (b"key-a", b"key-b", b"Bearer", base64.b64encode(b"key-b:")):
        assert told not in kept


def test_unknown_key_is_compared_as_often_and_as_long_as_a_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = WriteKeys({name: Secret(f"key-{name}") for name in "abcde"})
    seen = {}

    for key in (b"key-a", b"key-e", b"key-f", b"k", b"k" * 1_000):
        compared.clear()
        keys.source_of_header(b"Bearer " + key)
        seen[key] = list(compared)

    assert list(seen.values()) == [[(32, 32)] * 5] * 5


def test_wrong_headers_are_not_remembered() -> None:
    keys = WriteKeys({"a": Secret("key-a")})

    assert keys.source_of_header(b"Bearer wrong") is None
    assert keys._known == {}


def test_authorization_without_a_key_is_none() -> None:
    values = [b"", b"Basic", b"Basic Og==", b"Bearer", b"Negotiate x"]

    assert [key_of_authorization(value) for value in values] == [None] * 5


def _sha256(keys: Sequence[bytes]) -> list[bytes]:
    return [hashlib.sha256(key).digest() for key in keys]
