"""Requests that knock at the wrong doors: keys, paths, methods, origins."""

from __future__ import annotations

import base64

from tests.hostile.case import BASIC, HOST, Answer, Case, answered, batch, event, post, refused

_BODY = batch(event())


def _basic(user: bytes) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(user) + b"\r\n"


def _keys() -> list[Case]:
    headers = {
        "no key": b"",
        "unknown key": _basic(b"nobody:"),
        "empty user": _basic(b":web-key"),
        "nearly the key": _basic(b"web-ke:"),
        "more than the key": _basic(b"web-key2:"),
        "key in capitals": _basic(b"WEB-KEY:"),
        "key with a NUL": _basic(b"web-key\x00:"),
        "huge key": _basic(b"k" * 4_000 + b":"),
        "huge key in a field of its own": b"X-Write-Key: " + b"k" * 8_000 + b"\r\n",
        "not base64": b"Authorization: Basic !!!\r\n",
        "base64 cut": b"Authorization: Basic d2Vi\r\n",
        "base64 for URLs": b"Authorization: Basic _-__\r\n",
        "key not encoded": b"Authorization: Basic web-key:\r\n",
        "other scheme": b"Authorization: Digest web-key\r\n",
        "scheme alone": b"Authorization: Basic\r\n",
        "empty field": b"Authorization: \r\n",
        "token of nobody": b"Authorization: Bearer nobody\r\n",
        "key with bytes beyond ASCII": b"X-Write-Key: \xff\xfe\r\n",
        "template for a key": _basic(b"{0.__class__}:"),
        "SQL for a key": _basic(b"' OR 1=1 --:"),
    }
    return [answered(name, post(_BODY, key=field), 401, "invalid_write_key") for name, field in headers.items()]


def _keys_elsewhere() -> list[Case]:
    in_body = batch(event(), rest=b',"writeKey":"web-key"')
    wrong_in_body = batch(event(), rest=b',"writeKey":"nobody"')
    return [
        refused("two Authorization fields", post(_BODY, key=BASIC + _basic(b"nobody:"))),
        refused("two X-Write-Key fields", post(_BODY, key=b"X-Write-Key: web-key\r\nX-Write-Key: nobody\r\n")),
        answered("good key in the query, none else", post(_BODY, path=b"/v1/batch?writeKey=web-key", key=b""), 200),
        answered("good key in the body, none else", post(in_body, key=b""), 200),
        answered("good key in the body, bad one in the header", post(in_body, key=_basic(b"no:")), 401),
        answered("good key in the body, bad one in the query", post(in_body, path=b"/v1/b?writeKey=no", key=b""), 401),
        answered(
            "bad key in the body, good one in the query",
            post(wrong_in_body, path=b"/v1/b?writeKey=web-key", key=b""),
            200,
        ),
        answered("bad key in the body", post(wrong_in_body, key=b""), 401),
        answered("key twice in the query", post(_BODY, path=b"/v1/b?writeKey=no&writeKey=web-key", key=b""), 401),
        answered("key cut in the query", post(_BODY, path=b"/v1/b?writeKey=%zz", key=b""), 401),
        answered("key a list in the body", post(batch(event(), rest=b',"writeKey":["web-key"]'), key=b""), 401),
        answered("key a number in the body", post(batch(event(), rest=b',"writeKey":1'), key=b""), 401),
        answered("key with half a pair", post(batch(event(), rest=rb',"writeKey":"\ud800"'), key=b""), 401),
        answered(
            "events that differ in their keys",
            post(batch(event(writeKey="web-key"), event(writeKey="no")), key=b""),
            401,
        ),
        answered("key before a body that is no JSON", post(b"{", key=_basic(b"nobody:")), 401),
        answered("no key and a body that is no JSON", post(b"{", key=b""), 401),
        answered("no key and a bomb", post(bytes(100_000), key=b""), 401),
    ]


def _paths() -> list[Case]:
    unknown = {
        "unknown": b"/v1/nothing",
        "root": b"/",
        "traversal": b"/v1/../../etc/passwd",
        "traversal, encoded": b"/%2e%2e/%2e%2e/etc/passwd",
        "traversal back to a path": b"/x/../v1/batch",
        "dot segment": b"/v1/./batch",
        "two slashes first": b"//v1/batch",
        "two slashes inside": b"/v1//batch",
        "percent-encoded letter": b"/v1/%62atch",
        "percent-encoded slash": b"/v1%2fbatch",
        "percent-encoded NUL": b"/v1/batch%00",
        "percent alone": b"/v1/batch%",
        "other letters": b"/V1/Batch",
        "parameter": b"/v1/batch;a=b",
        "backslash": b"/v1\\batch",
        "another type": b"/v1/admin",
        "star": b"*",
        "metrics by POST of another host": b"http://evil/nothing",
        "very deep": b"/a" * 4_000,
    }
    found = [answered(f"path {name}", post(_BODY, path=path), 404, "not_found") for name, path in unknown.items()]
    found.append(refused("path beyond ASCII", post(_BODY, path="/v1/bätch".encode())))
    known = {
        "with a slash": b"/v1/batch/",
        "in absolute form": b"http://evil.example/v1/batch",
        "in absolute form of another scheme": b"ftp://evil.example:1/v1/batch?a",
        "with a query": b"/v1/batch?" + b"a=b&" * 1_000,
        "with a query of markup": b"/v1/batch?<script>alert(1)</script>",
    }
    found += [answered(f"path {name}", post(_BODY, path=path), 200) for name, path in known.items()]
    return found


def _methods() -> list[Case]:
    found = [
        Case(
            f"{method.decode()} of a path for POST",
            method + b" /v1/batch HTTP/1.1\r\n" + HOST + b"\r\n",
            (Answer(405, None if method == b"HEAD" else "method_not_allowed", headers=(("allow", "POST, OPTIONS"),)),),
            closed=False,
        )
        for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"PROPFIND", b"PURGE")
    ]
    found += [
        Case(
            f"{method.decode()} of a path for GET",
            method + b" /health HTTP/1.1\r\n" + HOST + b"\r\n",
            (Answer(405, headers=(("allow", "GET, HEAD, OPTIONS"),)),),
            closed=False,
        )
        for method in (b"POST", b"PUT", b"TRACE")
    ]
    found += [
        answered("HEAD of a path for GET", b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        answered("OPTIONS of all", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        answered("OPTIONS of nothing", b"OPTIONS /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        answered("GET with a body", b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 200),
        answered("TRACE with a key", b"TRACE /health HTTP/1.1\r\n" + HOST + BASIC + b"\r\n", 405),
        refused("CONNECT of this host", b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        refused("authority form", b"GET evil:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    ]
    return found


def _origins() -> list[Case]:
    preflight = b"OPTIONS /v1/batch HTTP/1.1\r\n" + HOST + b"Origin: https://evil.example\r\n"
    wanted = b", ".join(b"x-%d" % number for number in range(900))
    echoed = (("access-control-allow-origin", "https://evil.example"),)
    allowed = "access-control-allow-headers"
    return [
        Case("origin null", post(_BODY, fields=b"Origin: null\r\n"), _with("null"), closed=False),
        Case(
            "origin of anybody",
            post(_BODY, fields=b"Origin: https://evil.example\r\n"),
            (Answer(200, headers=echoed),),
            closed=False,
        ),
        Case("origin that is none", post(_BODY, fields=b"Origin: <script>\r\n"), _with("<script>"), closed=False),
        Case("origin empty", post(_BODY, fields=b"Origin: \r\n"), (Answer(200),), closed=False),
        refused("two origins", post(_BODY, fields=b"Origin: null\r\nOrigin: https://a\r\n")),
        refused("origin with a line break", post(_BODY, fields=b"Origin: a\r\n\tSet-Cookie: b\r\n")),
        Case("preflight", preflight + b"\r\n", (Answer(200, headers=(*echoed, (allowed, None))),), closed=False),
        Case(
            "preflight of 900 fields",
            preflight + b"Access-Control-Request-Headers: " + wanted + b"\r\n\r\n",
            (Answer(200, headers=(*echoed, (allowed, wanted.decode()))),),
            closed=False,
        ),
        refused(
            "preflight of too many fields",
            preflight + b"Access-Control-Request-Headers: " + wanted * 2 + b"\r\n\r\n",
            431,
            "headers_too_large",
        ),
        Case(
            "preflight of a method that is none",
            preflight + b"Access-Control-Request-Method: HACK\r\n\r\n",
            (Answer(200, headers=echoed),),
            closed=False,
        ),
    ]


def _with(origin: str) -> tuple[Answer, ...]:
    return (Answer(200, headers=(("access-control-allow-origin", origin),)),)


def cases() -> list[Case]:
    """All of them."""
    return [*_keys(), *_keys_elsewhere(), *_paths(), *_methods(), *_origins()]
