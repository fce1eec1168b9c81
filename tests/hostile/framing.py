"""Requests whose framing is hostile: two readings, odd lengths, odd chunks, other protocols, floods."""

from __future__ import annotations

from tests.hostile.case import (
    BASIC,
    CHUNKED,
    HOST,
    MIB,
    Answer,
    Case,
    How,
    answered,
    batch,
    chunks,
    event,
    judged,
    post,
    refused,
)

_POST = b"POST /v1/batch HTTP/1.1\r\n"
_GET = b"GET /health HTTP/1.1\r\n"
_TE = b"Transfer-Encoding: chunked\r\n"
_END = b"0\r\n\r\n"
_NEXT = _GET + b"Host: smuggled\r\n\r\n"
_BODY = batch(event())
_OK = Answer(200)
_EXPECTATION = "expectation_failed"


def _lengths() -> list[Case]:
    values = {
        "signed": b"+5",
        "negative": b"-1",
        "hexadecimal": b"0x5",
        "with an underscore": b"1_0",
        "with a space inside": b"1 0",
        "list": b"5, 5",
        "decimal": b"5.0",
        "exponent": b"5e0",
        "empty": b"",
        "word": b"five",
        "above 64 bits": b"18446744073709551616",
        "a thousand digits": b"9" * 1_000,
        "full-width digits": "\uff15".encode(),
        "with NUL": b"5\x00",
        "with a semicolon": b"5;6",
    }
    found = [
        refused(f"length {name}", _POST + HOST + b"Content-Length: " + value + b"\r\n\r\nhello" + _NEXT)
        for name, value in values.items()
    ]
    found.append(
        refused("length above the limit", _POST + HOST + b"Content-Length: 99999999\r\n\r\n", 413, "body_too_large")
    )
    largest = b"Content-Length: 9223372036854775807\r\n\r\n"
    found.append(refused("length of int64", _POST + HOST + BASIC + largest, 413, "body_too_large"))
    padded = _POST + HOST + BASIC + b"Content-Length: 000%d\r\n\r\n" % len(_BODY) + _BODY
    found.append(answered("length with zeros in front", padded, 200))
    return found


def _two_readings() -> list[Case]:
    cl, te = b"Content-Length: 5\r\n", _TE
    fields = {
        "length and chunks": cl + te,
        "chunks and length": te + cl,
        "length 0 and chunks": b"Content-Length: 0\r\n" + te,
        "two lengths": cl + b"Content-Length: 6\r\n",
        "the same length twice": cl + cl,
        "chunked twice": te + te,
        "chunked, chunked": b"Transfer-Encoding: chunked, chunked\r\n",
        "identity": b"Transfer-Encoding: identity\r\n",
        "identity and chunked": b"Transfer-Encoding: identity\r\n" + te,
        "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n",
        "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
        "xchunked": b"Transfer-Encoding: xchunked\r\n",
        "chunked in quotes": b'Transfer-Encoding: "chunked"\r\n',
        "chunked with a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
        "empty coding": b"Transfer-Encoding: \r\n" + cl,
        "vertical tab before chunked": b"Transfer-Encoding: \x0bchunked\r\n",
        "space before the colon": b"Transfer-Encoding : chunked\r\n",
        "tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
        "space before the name": b" Transfer-Encoding: chunked\r\n",
        "folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
        "folded length": b"Content-Length:\r\n 5\r\n",
        "folded field": b"X: a\r\n b\r\n",
        "field folded with a tab": b"X: a\r\n\tb\r\n",
        "two hosts": b"Host: b\r\n",
        "the same host twice": HOST,
        "host in other letters": b"hOsT: b\r\n",
        "bare LF after a field": b"X: a\n" + te,
        "bare CR in a field": b"X: a\r" + te,
        "bare CR before the end": b"X: a\r\r\n",
        "NUL in a name": b"X\x00: a\r\n",
        "NUL in a value": b"X: a\x00b\r\n",
        "control character in a name": b"X\x01: a\r\n",
        "no name": b": a\r\n",
        "no colon": b"just words\r\n",
        "name in brackets": b"X(a): b\r\n",
        "name not ASCII": "Größe: 1\r\n".encode(),
        "upgrade with chunks": te + b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        "two keys": BASIC + BASIC,
        "two encodings": b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n",
    }
    return [refused(name, _POST + HOST + lines + b"\r\n" + _END + _NEXT) for name, lines in fields.items()]


def _whole_heads() -> list[Case]:
    found = []
    found.append(refused("no host", _POST + b"\r\n"))
    found.append(refused("chunks in HTTP/1.0", b"POST /v1/batch HTTP/1.0\r\n" + _TE + b"\r\n" + _END))
    found.append(refused("bare LF after the request line", b"GET /health HTTP/1.1\nHost: a\r\n\r\n"))
    found.append(refused("bare LF throughout", b"GET /health HTTP/1.1\nHost: a\n\n"))
    found.append(refused("bare CR throughout", b"GET /health HTTP/1.1\rHost: a\r\r"))
    found.append(refused("bare LF as the end", _GET + HOST + b"\n" + _NEXT))
    return found


def _chunked() -> list[Case]:
    bodies = {
        "chunk size with a prefix": b"0x5\r\nhello\r\n" + _END,
        "chunk size with a sign": b"+5\r\nhello\r\n" + _END,
        "chunk size negative": b"-5\r\nhello\r\n" + _END,
        "chunk size with an underscore": b"1_0\r\nhello\r\n" + _END,
        "chunk size empty": b"\r\nhello\r\n" + _END,
        "chunk size no number": b"z\r\nhello\r\n" + _END,
        "chunk size with a space in front": b" 5\r\nhello\r\n" + _END,
        "chunk size above 64 bits": b"1" + b"0" * 16 + b"\r\nhello\r\n" + _END,
        "chunk size all ones": b"f" * 17 + b"\r\nhello\r\n" + _END,
        "bare LF after the chunk size": b"5\nhello\r\n" + _END,
        "bare CR after the chunk size": b"5\rhello\r\n" + _END,
        "bare LF after the chunk": b"5\r\nhello\n" + _END,
        "chunk longer than its size": b"2\r\nhello\r\n" + _END,
        "chunk shorter than its size": b"9\r\nhello\r\n" + _END,
        "bare LF in an extension": b"5;a\nb\r\nhello\r\n" + _END,
        "bare CR in an extension": b"5;a\rb\r\nhello\r\n" + _END,
        "NUL in an extension": b"5;a\x00b\r\nhello\r\n" + _END,
        "folded trailer": b"5\r\nhello\r\n0\r\nT: a\r\n b\r\n\r\n",
        "trailer without a colon": b"5\r\nhello\r\n0\r\nwords\r\n\r\n",
        "bare LF in a trailer": b"5\r\nhello\r\n0\r\nT: a\n\r\n",
        "NUL in a trailer": b"5\r\nhello\r\n0\r\nT: a\x00\r\n\r\n",
    }
    found = [refused(name, CHUNKED + body + _NEXT) for name, body in bodies.items()]
    found += [
        refused("chunk above the limit", CHUNKED + b"7fffffff\r\n" + b"x" * 5 * MIB, 413, "body_too_large"),
        refused("flood of chunks of one byte", CHUNKED + b"1\r\n \r\n" * 20_000),
        refused("endless extension", CHUNKED + b"5;" + b"x" * 600_000),
        refused("endless chunk size", CHUNKED + b"0" * 600_000),
        refused("trailer in 101 fields", CHUNKED + _END[:3] + b"T: a\r\n" * 101 + b"\r\n", 431, "headers_too_large"),
        refused("endless trailer", CHUNKED + _END[:3] + b"T: " + b"a" * 600_000),
        answered("chunks with extensions and trailers", CHUNKED + _extended(), 200),
        answered("trailers that name a key and a host", CHUNKED + _trailed(b"Host: b\r\n"), 200),
        refused("trailer that names a length", CHUNKED + _trailed(b"Content-Length: 9\r\n")),
        answered("chunks of one byte", CHUNKED + chunks(_BODY, 1), 200),
        answered("chunk size with zeros in front", CHUNKED + b"00%x\r\n%b\r\n" % (len(_BODY), _BODY) + _END, 200),
        answered("no chunk but the last", CHUNKED + _END, 400, "not_json"),
        Case("last chunk missing", CHUNKED + b"5\r\nhello\r\n", (), closed=True, how=How.HALF_CLOSED),
        refused("last chunk never comes", CHUNKED + b"5\r\nhello\r\n", 408, "too_slow").sent(How.STALLED),
    ]
    return found


def _extended() -> bytes:
    return b'%x;name=value;q="a b"\r\n%b\r\n0;last\r\nT: v\r\n\r\n' % (len(_BODY), _BODY)


def _trailed(field: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\nAuthorization: Basic eA==\r\n%b\r\n" % (len(_BODY), _BODY, field)


def _request_lines() -> list[Case]:
    hostile = {
        "HTTP/1.2": b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n",
        "HTTP/1.10": b"GET /health HTTP/1.10\r\n" + HOST + b"\r\n",
        "HTTP/3": b"GET /health HTTP/3\r\n" + HOST + b"\r\n",
        "lower-case version": b"GET /health http/1.1\r\n" + HOST + b"\r\n",
        "lower-case method": b"get /health HTTP/1.1\r\n" + HOST + b"\r\n",
        "unknown method": b"HACK /health HTTP/1.1\r\n" + HOST + b"\r\n",
        "tabs for spaces": b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n",
        "two spaces": b"GET  /health HTTP/1.1 \r\n" + HOST + b"\r\n",
        "space in the target": b"GET /health x HTTP/1.1\r\n" + HOST + b"\r\n",
        "NUL in the target": b"GET /health\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
        "control character in the target": b"GET /health\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
        "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS hello": bytes.fromhex("1603010200010001fc0303") + bytes(range(64)),
        "SSH": b"SSH-2.0-OpenSSH_9.0\r\n",
        "SMTP": b"EHLO a\r\n",
        "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "random bytes": bytes((i * 197 + 91) % 256 for i in range(2_000)),
        "NULs": bytes(2_000),
        "a pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "a PROXY header": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + _GET + HOST + b"\r\n",
    }
    found = [refused(name, data) for name, data in hostile.items()]
    found.append(refused("CONNECT", b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n", 405, "method_not_allowed"))
    for version in (b"", b" HTTP/0.9", b" HTTP/2.0"):
        line = b"GET /health%b\r\n" % version
        found.append(refused(f"version{version.decode() or ' missing'}", line + HOST + b"\r\n"))
    ten = b"POST /v1/batch HTTP/1.0\r\n" + BASIC + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY
    found.append(Case("HTTP/1.0", ten, (_OK,), closed=True))
    found.append(
        Case("HTTP/1.0 with keep-alive", b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", (_OK,), True)
    )
    return found


def _heads() -> list[Case]:
    many = b"".join(b"X%d: a\r\n" % number for number in range(101))
    large = b"".join(b"X%d: " % number + b"a" * 4_000 + b"\r\n" for number in range(9))
    tiny = b"".join(b"X%d: " % number + b"a" * 380 + b"\r\n" for number in range(95))
    head = _GET + HOST
    return [
        refused("101 fields", head + many + b"\r\n", 431, "headers_too_large"),
        refused("header above 32 KiB in large fields", head + large + b"\r\n", 431, "headers_too_large"),
        refused("header above 32 KiB in small fields", head + tiny + b"\r\n", 431, "headers_too_large"),
        refused("very long value", head + b"X: " + b"a" * 9_000 + b"\r\n\r\n", 431, "headers_too_large"),
        refused("very long name", head + b"X" * 9_000 + b": a\r\n\r\n", 431, "headers_too_large"),
        refused("value that never ends", head + b"X: " + b"a" * MIB, 431, "headers_too_large"),
        refused("method that never ends", b"G" * 9_000),
        refused("very long target", b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
        refused("very long query", b"GET /?" + b"a" * MIB, 414, "uri_too_long"),
        refused("unknown expectation", _POST + HOST + b"Expect: a\r\nContent-Length: 5\r\n\r\n", 417, _EXPECTATION),
        answered("99 fields", head + b"".join(b"X%d: a\r\n" % n for n in range(98)) + b"\r\n", 200),
        answered("empty lines first", b"\r\n\r\n" + head + b"\r\n", 200),
        answered("empty value", head + b"X:\r\n\r\n", 200),
        answered("value beyond ASCII", head + b"X: \xff\xfe\r\n\r\n", 200),
        refused("header never comes", _GET[:9], 408, "timeout").sent(How.STALLED),
        refused("header never ends", head + b"X: ", 408, "timeout").sent(How.STALLED),
        refused("body never comes", _POST + HOST + BASIC + b"Content-Length: 9\r\n\r\n", 408, "too_slow").sent(
            How.STALLED
        ),
        refused("body never ends", post(_BODY)[:-9], 408, "too_slow").sent(How.STALLED),
        Case("nothing is sent", b"", (), closed=True, how=How.HALF_CLOSED),
        Case("header is cut", _GET[:9], (), closed=True, how=How.HALF_CLOSED),
        Case("body is cut", post(_BODY)[:-9], (), closed=True, how=How.HALF_CLOSED),
        Case("client leaves in the header", _GET[:9], (), closed=True, how=How.ABANDONED),
        Case("client leaves in the body", post(_BODY)[:-9], (), closed=True, how=How.ABANDONED),
        Case("client leaves before the answer", post(_BODY), (), closed=True, how=How.ABANDONED),
    ]


def _pipelines() -> list[Case]:
    health = _GET + HOST + b"\r\n"
    closing = _GET + HOST + b"Connection: close\r\n\r\n"
    unknown = b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
    return [
        Case("100 pipelined requests", health * 100, (_OK,) * 100, closed=False),
        Case("100 pipelined batches", post(_BODY) * 100, (_OK,) * 100, closed=False),
        Case("request after close", closing + post(_BODY), (_OK,), closed=True),
        Case("bad request between good ones", health + b"\x00" + health, (_OK, Answer(400)), closed=True),
        Case("body of an unknown path", unknown + health, (Answer(404), _OK), closed=False),
        Case("pipeline that is not read on", health * 100, (_OK,) * 100, closed=True, how=How.HALF_CLOSED),
        Case("body longer than its length", post(_BODY) + b"GARBAGE\r\n\r\n", (_OK, Answer(400)), closed=True),
        Case("pipeline in pieces", health * 3, (_OK,) * 3, closed=False, how=How.PIECES),
        Case("batch in pieces", post(_BODY), (_OK,), closed=False, how=How.PIECES),
        judged("batch in one piece", _BODY, accepted=1),
        Case("chunks in pieces", CHUNKED + chunks(_BODY, 7), (_OK,), closed=False, how=How.PIECES),
        Case("client half closes", post(_BODY), (_OK,), closed=True, how=How.HALF_CLOSED),
    ]


_SPLIT = ("length and chunks", "two lengths", "chunk size above 64 bits", "bare LF in an extension", "folded coding")


def cases() -> list[Case]:
    """All of them, some once more in pieces of one byte."""
    found = [
        *_lengths(),
        *_two_readings(),
        *_whole_heads(),
        *_chunked(),
        *_request_lines(),
        *_heads(),
        *_pipelines(),
    ]
    return found + [case.sent(How.PIECES) for case in found if case.name in _SPLIT]
