from __future__ import annotations

import json
import socket

from tests.gateway.conftest import StartGateway
from tests.gateway.harness import BASIC, Client, RunningGateway, batch, request, track

CHUNKED = b"POST /v1/batch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + BASIC + b"\r\n"


def chunks(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_connection_is_kept_for_many_requests(gateway: RunningGateway, client: Client) -> None:
    statuses = {client.post("/v1/track", track(f"m{number}")).status for number in range(50)}

    assert statuses == {200}
    assert len(gateway.stored()) == 50


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway, client: Client) -> None:
    client.send(
        request("/v1/batch", batch("a", "b"))
        + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        + request("/v1/nothing", {})
        + request("/v1/track", track("c"))
    )

    answers = [client.answer() for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert answers[1].json == {"status": "ok"}
    assert [event["messageId"] for event in gateway.stored()] == ["a", "b", "c"]


def test_body_that_waits_to_be_asked_for_is_asked_for_when_the_answers_before_it_are_sent(
    gateway: RunningGateway, client: Client
) -> None:
    head, _, body = request("/v1/track", track("b"), headers=BASIC + b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    client.send(request("/v1/track", track("a")) + head + b"\r\n\r\n")

    before, invitation = client.answer(), client.answer()
    answer = client.ask(body)

    assert (before.status, invitation.status, answer.status) == (200, 100, 200)
    assert [event["messageId"] for event in gateway.stored()] == ["a", "b"]


def test_hundreds_of_pipelined_requests_are_all_answered(gateway: RunningGateway, client: Client) -> None:
    client.send(b"".join(request("/v1/track", track(f"m{number}")) for number in range(500)))

    statuses = [client.answer().status for _ in range(500)]

    assert statuses == [200] * 500
    assert len(gateway.stored()) == 500


def test_request_may_come_byte_by_byte(client: Client) -> None:
    for byte in request("/v1/track", track()):
        client.send(bytes([byte]))

    assert client.answer().status == 200


def test_chunked_body_of_any_chunk_size_is_accepted(gateway: RunningGateway, client: Client) -> None:
    body = json.dumps(batch("a", "b")).encode()

    statuses = [client.ask(CHUNKED + chunks(body, size)).status for size in (1, 7, 100_000)]

    assert statuses == [200] * 3
    assert len(gateway.stored()) == 6


def test_trailers_and_extensions_of_chunks_are_ignored(client: Client) -> None:
    body = json.dumps(batch("a")).encode()
    chunked = b"%x;name=value\r\n%b\r\n0\r\nAuthorization: Basic bm9ib2R5Og==\r\nHost: b\r\n\r\n" % (len(body), body)

    assert client.ask(CHUNKED + chunked).status == 200
    assert client.get("/health").status == 200


def test_expectation_is_confirmed_before_the_body(client: Client) -> None:
    body = json.dumps(track()).encode()
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n" % len(body)

    go_on = client.ask(head + BASIC + b"\r\n")
    answer = client.ask(body)

    assert (go_on.status, answer.status) == (100, 200)


def test_expectation_is_refused_when_the_answer_is_clear(client: Client) -> None:
    answer = client.ask(b"POST /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")

    assert answer.status == 404
    assert client.ended()


def test_unknown_expectation_is_417(client: Client) -> None:
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 9\r\n\r\n"

    assert client.ask(head).status == 417


def test_connection_ends_when_the_client_asks_for_it(client: Client) -> None:
    answer = client.post("/v1/track", track(), headers=BASIC + b"Connection: close\r\n")

    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.ended()


def test_http_1_0_is_answered_and_closed(client: Client) -> None:
    body = json.dumps(track()).encode()

    answer = client.ask(b"POST /v1/track HTTP/1.0\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), BASIC, body))

    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.ended()


def test_client_that_sends_no_more_still_gets_its_answer(client: Client) -> None:
    client.send(request("/v1/track", track()))
    client.socket.shutdown(socket.SHUT_WR)

    assert client.answer().status == 200
    assert client.ended()


def test_offer_of_an_upgrade_is_ignored(gateway: RunningGateway, client: Client) -> None:
    offer = BASIC + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    whole = request("/v1/track", track("a"), headers=offer)

    together = client.ask(whole)
    client.send(whole[:-10])
    client.send(whole[-10:] + request("/v1/track", track("b")))
    in_pieces, next_one = client.answer(), client.answer()
    without_body = client.ask(b"GET /health HTTP/1.1\r\nHost: a\r\n" + offer + b"\r\n")

    assert [a.status for a in (together, in_pieces, next_one, without_body)] == [200] * 4
    assert [event["messageId"] for event in gateway.stored()] == ["a", "a", "b"]


def test_client_that_leaves_in_the_middle_leaves_nothing_behind(start_gateway: StartGateway) -> None:
    running = start_gateway()
    whole = request("/v1/track", track())
    for cut in (3, 40, len(whole) - 2):
        client = running.client()
        client.send(whole[:cut])
        client.close()
    client = running.client()

    client.get("/health")

    def left() -> tuple[int, int, int]:
        traffic = running.server.traffic
        return len(traffic.connections), traffic.in_hand, traffic.buffered_bytes

    # The loop has read the ends of the earlier connections before the next request on a new one.
    client.get("/health")
    assert running.call(left) == (1, 0, 0)
    client.close()
