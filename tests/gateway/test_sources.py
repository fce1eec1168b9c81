from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Client, RunningGateway, request

ORIGIN = b"Origin: https://shop.example\r\n"


def get(client: Client, path: str, headers: bytes = b"", *, host: bytes = b"events.example") -> dict[str, object]:
    answer = client.ask(f"GET {path} HTTP/1.1\r\n".encode() + b"Host: " + host + b"\r\n" + headers + b"\r\n")
    assert answer.status == 200, answer.body
    told: dict[str, object] = answer.json
    return told


@pytest.mark.parametrize("path", ["/v1/projects/web-key/settings", "/projects/web-key/settings"])
def test_settings_name_the_host_that_was_asked(client: Client, path: str) -> None:
    told = get(client, path, ORIGIN)

    assert told["integrations"] == {"Segment.io": {"apiKey": "web-key", "apiHost": "events.example/v1"}}


@pytest.mark.parametrize("host", [b"127.0.0.1:8080", b"localhost:8080", b"[::1]:8080"])
def test_settings_on_this_machine_say_http(client: Client, host: bytes) -> None:
    told = get(client, "/v1/projects/web-key/settings", host=host)

    assert told["integrations"] == {
        "Segment.io": {"apiKey": "web-key", "apiHost": f"{host.decode()}/v1", "protocol": "http"}
    }


@pytest.mark.parametrize("host", [b"evil.example/x?", b'a"b', b"a b", b"a@b"])
def test_settings_repeat_no_host_that_is_none(client: Client, host: bytes) -> None:
    told = get(client, "/v1/projects/web-key/settings", host=host)

    assert told["integrations"] == {"Segment.io": {"apiKey": "web-key"}}


def test_settings_keep_the_sdk_from_reporting_to_its_vendor(client: Client) -> None:
    assert get(client, "/v1/projects/web-key/settings")["metrics"] == {"sampleRate": 0}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/sourceConfig/?p=npm&v=3.34.1&build=modern&writeKey=web-key&lockPluginsVersion=true", BASIC),
        ("/sourceConfig?writeKey=web-key", b""),
        ("/sourceConfig", BASIC),
    ],
)
def test_source_config_is_that_of_a_source_without_other_destinations(
    client: Client, path: str, headers: bytes
) -> None:
    told = get(client, path, headers)["source"]

    assert isinstance(told, dict)
    assert (told["id"], told["enabled"], told["destinations"]) == ("web", True, [])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/wrong-key/settings",
        "/projects/wrong-key/settings",
        "/sourceConfig/?writeKey=wrong-key",
        "/sourceConfig/",
        "/analytics.js/v1/wrong-key/analytics.min.js",
    ],
)
def test_unknown_key_is_told_nothing(client: Client, path: str) -> None:
    answer = client.get(path)

    assert (answer.status, answer.json["code"]) == (401, "invalid_write_key")


@pytest.mark.parametrize(
    "path", ["/v1/projects//settings", "/v1/projects/a/b/settings", "/v1/projects/settings", "/v1/projects/web-key"]
)
def test_path_without_a_key_is_404(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_key_in_the_path_counts_alone(client: Client) -> None:
    assert client.get("/v1/projects/wrong-key/settings?writeKey=web-key").status == 401
    assert client.get("/v1/projects/wrong&writeKey=web-key/settings").status == 401


def test_settings_are_for_get_only(client: Client) -> None:
    answer = client.ask(request("/v1/projects/web-key/settings", {}))

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_script_tag_gets_the_file_that_is_configured(start_gateway: StartGateway, tmp_path: Path) -> None:
    script = tmp_path / "analytics.min.js"
    script.write_text("window.analytics = []")
    client = start_gateway({"analytics_js": script}).client()

    answer = client.get("/analytics.js/v1/web-key/analytics.min.js")

    assert (answer.status, answer.body) == (200, b"window.analytics = []")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    client.close()


def test_script_tag_without_a_file_is_told_how_to_get_one(client: Client) -> None:
    answer = client.get("/analytics.js/v1/web-key/analytics.min.js")

    assert (answer.status, answer.json["code"]) == (404, "no_script")
    assert "npm pack @segment/analytics-next" in answer.json["message"]


def test_gateway_starts_without_the_file_of_the_script(start_gateway: StartGateway, tmp_path: Path) -> None:
    client = start_gateway({"analytics_js": tmp_path / "none.js"}).client()

    assert client.get("/analytics.js/v1/web-key/analytics.min.js").status == 404
    assert client.get("/health").status == 200
    client.close()


def test_requests_are_counted_without_their_keys(gateway: RunningGateway, client: Client) -> None:
    client.get("/v1/projects/web-key/settings")

    counted = client.get("/metrics").body.decode()

    assert 'path="/v1/projects/{writeKey}/settings"' in counted
    assert "web-key" not in counted
