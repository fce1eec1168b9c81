from __future__ import annotations

import pytest

from tests.gateway.harness import BASIC, Client, RunningGateway, batch, request, track

WRONG_KEY = b"Authorization: Basic bm9ib2R5Og==\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        request("/v1/track", track("m")),
        request("/v1/batch", batch("a", "b")),
        request("/v1/nothing", {}),
        request("/v1/track", track("m")).replace(BASIC, WRONG_KEY),
        request("/v1/track", track("m")).replace(b"{", b"[", 1),
    ],
    ids=["track", "batch", "unknown path", "wrong key", "not JSON"],
)
def test_same_request_gets_the_same_answer_each_time(client: Client, wire: bytes) -> None:
    answers = [client.ask(wire) for _ in range(3)]

    assert answers[1].status == answers[0].status == answers[2].status
    assert answers[1].json == answers[0].json == answers[2].json


def test_known_head_does_not_make_its_body_known(gateway: RunningGateway, client: Client) -> None:
    for name in ("m1", "m2", "m3"):
        client.ask(request("/v1/track", track(name)))

    assert [event["messageId"] for event in gateway.stored()] == ["m1", "m2", "m3"]


def test_known_head_with_a_body_in_pieces_is_read_to_its_end(gateway: RunningGateway, client: Client) -> None:
    client.ask(request("/v1/track", track("m1")))
    wire = request("/v1/track", track("m2"))

    client.send(wire[:-10])
    answer = client.ask(wire[-10:])

    assert answer.status == 200
    assert [event["messageId"] for event in gateway.stored()] == ["m1", "m2"]


def test_known_heads_in_a_pipeline_are_answered_one_by_one(gateway: RunningGateway, client: Client) -> None:
    client.ask(request("/v1/track", track("m1")))

    client.send(request("/v1/track", track("m2")) + request("/v1/track", track("m3")))
    statuses = [client.answer().status for _ in range(2)]

    assert statuses == [200, 200]
    assert [event["messageId"] for event in gateway.stored()] == ["m1", "m2", "m3"]


def test_request_that_ends_its_connection_ends_it_each_time(gateway: RunningGateway) -> None:
    wire = request("/v1/track", track("m")).replace(BASIC, BASIC + b"Connection: close\r\n")

    for _ in range(3):
        client = gateway.client()
        assert client.ask(wire).status == 200
        assert client.ended()
        client.close()


def test_body_that_looks_like_the_end_of_a_head_is_a_body(gateway: RunningGateway, client: Client) -> None:
    body = b'{"type":"track","event":"e","messageId":"m","userId":"u"}'
    wire = b"POST /v1/track HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (BASIC, len(body) + 8)

    statuses = [client.ask(wire + b"\r\n\r\n" + body + b"\r\n\r\n").status for _ in range(2)]

    assert statuses == [200, 200]
    assert len(gateway.stored()) == 2
