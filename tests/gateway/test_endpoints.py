from __future__ import annotations

import pytest

from tests.gateway.harness import Client, RunningGateway, batch, request, track

SINGLES = ["track", "identify", "page", "screen", "group", "alias"]
EXTRA = {
    "track": {"event": "Seen"},
    "identify": {},
    "page": {"name": "Home"},
    "screen": {"name": "Home"},
    "group": {"groupId": "g1"},
    "alias": {"previousId": "u0"},
}


@pytest.mark.parametrize("short", [False, True], ids=["long", "short"])
@pytest.mark.parametrize("kind", SINGLES)
def test_single_event_is_stored_as_what_its_path_says(
    gateway: RunningGateway, client: Client, kind: str, short: bool
) -> None:
    answer = client.post(f"/v1/{kind[0] if short else kind}", {"userId": "u1", "messageId": "m1", **EXTRA[kind]})

    assert (answer.status, answer.json) == (200, {"success": True, "accepted": 1, "rejected": []})
    assert [event["messageId"] for event in gateway.stored()] == ["m1"]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/v1/batch/"])
def test_batch_is_stored_in_order(gateway: RunningGateway, client: Client, path: str) -> None:
    answer = client.post(path, batch("a", "b", "c"))

    assert (answer.status, answer.json) == (200, {"success": True, "accepted": 3, "rejected": []})
    assert answer.headers["content-type"] == "application/json"
    assert [event["messageId"] for event in gateway.stored()] == ["a", "b", "c"]


def test_one_bad_event_does_not_refuse_its_batch(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/batch", {"batch": [track("a"), 7, track("c")]})

    assert answer.status == 200
    assert answer.json["accepted"] == 2
    assert [verdict["index"] for verdict in answer.json["rejected"]] == [1]
    assert set(answer.json["rejected"][0]) == {"index", "messageId", "reason"}
    assert [event["messageId"] for event in gateway.stored()] == ["a", "c"]


def test_metrics_of_the_browser_sdk_are_dropped(gateway: RunningGateway, client: Client) -> None:
    answer = client.post("/v1/m", {"series": []}, headers=b"")

    assert answer.status == 200
    assert gateway.stored() == []


def test_content_type_does_not_matter(client: Client) -> None:
    headers = b"Content-Type: text/plain;charset=UTF-8\r\n"

    answer = client.post("/beacon/v1/batch?writeKey=web-key", batch("a"), headers=headers)

    assert answer.status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b'{"batch": 1}'])
def test_body_that_is_no_batch_is_refused_with_code_and_message(client: Client, body: bytes) -> None:
    answer = client.post("/v1/batch", body)

    assert answer.status == 400
    assert answer.json["success"] is False
    assert answer.json["code"]
    assert answer.json["message"]


def test_unknown_path_is_404_and_wrong_method_405(client: Client) -> None:
    unknown = client.post("/v1/nothing", {})
    wrong = client.get("/v1/track")
    wrong_too = client.ask(request("/health", {}))

    assert (unknown.status, unknown.json["code"]) == (404, "not_found")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert (wrong_too.status, wrong_too.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_no_path_ever_redirects(client: Client) -> None:
    paths = ["/", "//v1/batch", "/v1", "/v1/", "/v1/batch//", "/V1/BATCH", "/v1/../v1/batch", "/v1/batch/?x=1"]

    statuses = [client.post(path, batch("a")).status for path in paths]

    assert not [status for status in statuses if 300 <= status < 400]
    assert statuses[-1] == 200


def test_target_in_absolute_form_is_understood(client: Client) -> None:
    assert client.post("http://example.com/v1/track", track()).status == 200


def test_head_is_answered_without_a_body(client: Client) -> None:
    answer = client.ask(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n", head=True)

    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 0
    assert client.get("/health").status == 200


def test_answers_tell_nothing_about_the_server(client: Client) -> None:
    answer = client.get("/health")

    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    assert answer.headers["date"].endswith("GMT")
