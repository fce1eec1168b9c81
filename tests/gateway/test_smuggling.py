from __future__ import annotations

import pytest

from tests.gateway.harness import BASIC, Client, RunningGateway

POST = b"POST /v1/track HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"

TWO_READINGS = {
    "length and chunked": POST + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + END,
    "chunked and length": POST + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n" + END,
    "two lengths": POST + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "same length twice": POST + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "list of lengths": POST + HOST + b"Content-Length: 1, 1\r\n\r\na",
    "signed length": POST + HOST + b"Content-Length: +1\r\n\r\na",
    "negative length": POST + HOST + b"Content-Length: -1\r\n\r\na",
    "hexadecimal length": POST + HOST + b"Content-Length: 0x1\r\n\r\na",
    "empty length": POST + HOST + b"Content-Length: \r\n\r\n",
    "huge length": POST + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "chunked twice": POST + HOST + CHUNKED + CHUNKED + b"\r\n" + END,
    "chunked not last": POST + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END,
    "gzip, chunked": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "unknown coding": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "coding after a tab": POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "space before colon": POST + HOST + b"Transfer-Encoding : chunked\r\n\r\n" + END,
    "chunked in 1.0": b"POST /v1/track HTTP/1.0\r\n" + CHUNKED + b"\r\n" + END,
    "two hosts": POST + HOST + b"Host: b\r\n\r\n",
    "same host twice": POST + HOST + HOST + b"\r\n",
    "no host": POST + b"\r\n",
    "folded header": POST + HOST + b"X: a\r\n b\r\n\r\n",
    "folded with tab": POST + HOST + b"X: a\r\n\tb\r\n\r\n",
    "folded first header": POST + b" X: a\r\n" + HOST + b"\r\n",
    "bare LF after request line": b"GET /health HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after header": b"GET /health HTTP/1.1\r\nHost: a\n\r\n",
    "bare LF as end": b"GET /health HTTP/1.1\r\nHost: a\r\n\nX: y\r\n\r\n",
    "bare CR in header": POST + b"Host: a\rX: b\r\n\r\n",
    "NUL in header": POST + b"Host: a\x00\r\n\r\n",
    "NUL in name": POST + HOST + b"X\x00: b\r\n\r\n",
    "nameless header": POST + HOST + b": b\r\n\r\n",
    "chunk size with prefix": POST + HOST + CHUNKED + b"\r\n0x1\r\na\r\n" + END,
    "chunk size overflow": POST + HOST + CHUNKED + b"\r\nfffffffffffffffff\r\na\r\n" + END,
    "negative chunk size": POST + HOST + CHUNKED + b"\r\n-1\r\na\r\n" + END,
    "empty chunk size": POST + HOST + CHUNKED + b"\r\n\r\na\r\n" + END,
    "bare LF after chunk size": POST + HOST + CHUNKED + b"\r\n1\na\r\n" + END,
    "bare LF in chunk extension": POST + HOST + CHUNKED + b"\r\n1;a\nb\r\na\r\n" + END,
    "chunk longer than its size": POST + HOST + CHUNKED + b"\r\n1\r\nabc\r\n" + END,
    "bare LF after chunk": POST + HOST + CHUNKED + b"\r\n1\r\na\n" + END,
    "upgrade with chunks": POST + HOST + CHUNKED + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + END,
    "key twice": POST + HOST + BASIC + BASIC + b"\r\n",
    "tab in request line": b"POST\t/v1/track HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in target": b"POST /v1/track x HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"post /v1/track HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown version": b"POST /v1/track HTTP/1.2\r\nHost: a\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", TWO_READINGS)
def test_request_with_two_readings_is_400_and_ends_the_connection(
    gateway: RunningGateway, client: Client, name: str
) -> None:
    client.send(TWO_READINGS[name] + b"GET /health HTTP/1.1\r\nHost: smuggled\r\n\r\n")

    answer = client.answer()

    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.json["code"] == "bad_request"
    client.socket.shutdown(1)
    assert client.ended()
    assert gateway.stored() == []


@pytest.mark.parametrize("line", [b"GET / HTTP/0.9", b"GET /", b"GET / HTTP/2.0", b"SOURCE / ICE/1.0"])
def test_other_versions_are_refused_and_end_the_connection(client: Client, line: bytes) -> None:
    answer = client.ask(line + b"\r\nHost: a\r\n\r\n")

    assert answer.status in (400, 404)
    client.socket.shutdown(1)
    assert client.ended()


def test_proxy_requests_are_refused(client: Client) -> None:
    answer = client.ask(b"CONNECT internal:80 HTTP/1.1\r\nHost: internal:80\r\n\r\n")

    assert (answer.status, answer.headers["connection"]) == (405, "close")


def test_earlier_pipelined_requests_are_answered_before_the_refusal(client: Client) -> None:
    client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" + TWO_READINGS["two hosts"])

    assert [client.answer().status, client.answer().status] == [200, 400]
