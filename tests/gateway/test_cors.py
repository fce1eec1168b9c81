from __future__ import annotations

from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Client, request, track

ORIGIN = b"Origin: https://shop.example\r\n"
ASKED = "authorization,content-type,x-retry-count,rsa-retry-attempt,x-custom"
PREFLIGHT = (
    ORIGIN + b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: " + ASKED.encode() + b"\r\n"
)


def preflight(path: str, headers: bytes = PREFLIGHT) -> bytes:
    return f"OPTIONS {path} HTTP/1.1\r\nHost: a\r\n".encode() + headers + b"\r\n"


def test_preflight_allows_every_header_that_is_asked_for(client: Client) -> None:
    for path in ("/v1/t", "/v1/batch", "/metrics", "/nowhere", "*"):
        answer = client.ask(preflight(path))

        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-allow-headers"] == ASKED
        assert answer.headers["access-control-allow-methods"] == "GET, POST, HEAD, OPTIONS"
        assert answer.headers["access-control-max-age"] == "86400"


def test_answers_to_browsers_expose_retry_after(client: Client) -> None:
    for answer in (
        client.post("/v1/track", track(), headers=BASIC + ORIGIN),
        client.post("/v1/track", track(), headers=ORIGIN),
        client.post("/nowhere", {}, headers=ORIGIN),
    ):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-expose-headers"] == "Retry-After"
        assert answer.headers["vary"] == "Origin"


def test_answers_to_programs_have_no_cors_headers(client: Client) -> None:
    answer = client.post("/v1/track", track())

    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_only_configured_origins_may_read_answers(start_gateway: StartGateway) -> None:
    client = start_gateway({"cors_origins": ("https://shop.example",)}).client()

    ours = client.ask(preflight("/v1/t"))
    other = client.ask(preflight("/v1/t", PREFLIGHT.replace(b"shop.example", b"evil.example")))

    assert ours.headers["access-control-allow-origin"] == "https://shop.example"
    assert other.status == 200
    assert not [name for name in other.headers if name.startswith("access-control")]
    client.close()


def test_options_with_a_body_does_not_disturb_the_next_request(client: Client) -> None:
    answer = client.ask(request("/v1/track", {"a": 1}, method="OPTIONS", headers=PREFLIGHT))

    assert answer.status == 200
    assert client.get("/health").status == 200
