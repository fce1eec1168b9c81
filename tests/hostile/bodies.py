"""Bodies that are too large, or compressed in ways that hide what is in them."""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache

from tests.hostile.case import BASIC, CHUNKED, HOST, MIB, Case, answered, bad_body, batch, event, judged, post, refused

_BODY = batch(event())
_GZIP = b"Content-Encoding: gzip\r\n"
_LIMIT = 500_000
"""What a batch may have, decompressed, and some."""


@lru_cache
def _bomb(n_mib: int) -> bytes:
    """This many MiB of zeros in a thousandth of that."""
    return gzip.compress(bytes(n_mib * MIB), mtime=0)


def _bomb_of(n_bytes: int) -> bytes:
    return gzip.compress(bytes(n_bytes), mtime=0)


def _large_gzip() -> bytes:
    return gzip.compress(batch(event(properties={"a": "".join(map(chr, range(32, 127))) * 200})), 0, mtime=0)


def _lying(member: bytes, n_bytes: int) -> bytes:
    """The member with another size at its end."""
    return member[:-4] + n_bytes.to_bytes(4, "little")


@lru_cache
def _json_bomb() -> bytes:
    """A batch that is right in every way but its size."""
    return gzip.compress(batch(event(properties={"a": "a" * 8 * MIB})), mtime=0)


def _zipped(body: bytes, *, fields: bytes = _GZIP) -> bytes:
    return post(body, fields=fields)


def _large() -> list[Case]:
    head = b"POST /v1/batch HTTP/1.1\r\n" + HOST + BASIC
    return [
        refused(
            "larger than the limit by its header", head + b"Content-Length: 4194305\r\n\r\n", 413, "body_too_large"
        ),
        refused("larger than the limit, sent", lambda: post(bytes(5 * MIB)), 413, "body_too_large"),
        refused("larger than the limit while streamed", lambda: CHUNKED + _chunked(5 * MIB), 413, "body_too_large"),
        bad_body("larger than a batch may be", lambda: batch(event()).ljust(600_000), "too_large", 413),
        bad_body("batch of the size of a body", lambda: _BODY.ljust(4 * MIB), "too_large", 413),
        Case("without a length", head + b"\r\n", answered("", b"", 400, "not_json").answers, closed=False),
        Case(
            "without a length, with a body",
            head + b"\r\n" + _BODY,
            (*answered("", b"", 400, "not_json").answers, *answered("", b"", 400, "bad_request").answers),
            closed=True,
        ),
    ]


def _chunked(n_bytes: int) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (n_bytes, bytes(n_bytes))


def _compressed() -> list[Case]:
    zipped = gzip.compress(_BODY, mtime=0)
    deflated = zlib.compress(_BODY)
    refusals: dict[str, tuple[bytes, bytes, int, str]] = {
        "gzip twice": (gzip.compress(zipped), _GZIP, 400, "bad_gzip"),
        "gzip twice, not said": (gzip.compress(zipped), b"", 400, "bad_gzip"),
        "gzip cut": (zipped[:-9], _GZIP, 400, "bad_gzip"),
        "gzip of two bytes": (zipped[:2], _GZIP, 400, "bad_gzip"),
        "gzip of two bytes, not said": (zipped[:2], b"", 400, "bad_gzip"),
        "gzip with garbage after it": (zipped + b"garbage", _GZIP, 400, "bad_gzip"),
        "gzip with zeros after it": (zipped + bytes(8), _GZIP, 400, "bad_gzip"),
        "gzip of two members": (zipped + zipped, _GZIP, 400, "bad_gzip"),
        "gzip with a wrong checksum": (zipped[:-8] + bytes(4) + zipped[-4:], _GZIP, 400, "bad_gzip"),
        "gzip with a wrong size": (zipped[:-4] + bytes(4), _GZIP, 400, "bad_gzip"),
        "gzip with a wrong method": (zipped[:2] + b"\x07" + zipped[3:], _GZIP, 400, "bad_gzip"),
        "gzip that is none": (_BODY, _GZIP, 400, "bad_gzip"),
        "gzip that is deflate": (deflated, _GZIP, 400, "bad_gzip"),
        "gzip that is empty": (b"", _GZIP, 400, "bad_gzip"),
        "gzip, gzip": (gzip.compress(zipped), b"Content-Encoding: gzip, gzip\r\n", 415, "unsupported_encoding"),
        "gzip, identity": (zipped, b"Content-Encoding: gzip, identity\r\n", 415, "unsupported_encoding"),
        "deflate": (deflated, b"Content-Encoding: deflate\r\n", 415, "unsupported_encoding"),
        "br": (b"\x8b\x02\x80", b"Content-Encoding: br\r\n", 415, "unsupported_encoding"),
        "zstd": (b"\x28\xb5\x2f\xfd", b"Content-Encoding: zstd\r\n", 415, "unsupported_encoding"),
        "brotli's name with gzip's magic": (zipped, b"Content-Encoding: br\r\n", 415, "unsupported_encoding"),
        "deflate, not said": (deflated, b"", 400, "not_utf8"),
        "encoding of commas": (zipped, b"Content-Encoding: ,,\r\n", 415, "unsupported_encoding"),
        "gzip of more than a batch may have": (gzip.compress(_BODY.ljust(600_000)), _GZIP, 413, "too_large"),
        "gzip of one byte too much": (_bomb_of(4 * MIB + 1), _GZIP, 413, "body_too_large"),
    }
    found = [
        answered(name, _zipped(body, fields=fields), status, code)
        for name, (body, fields, status, code) in refusals.items()
    ]
    found += [
        answered("gzip bomb", lambda: _zipped(_bomb(50)), 413, "body_too_large"),
        answered("gzip bomb, not said", lambda: _zipped(_bomb(50), fields=b""), 413, "body_too_large"),
        answered("gzip bomb of JSON", lambda: _zipped(_json_bomb()), 413, "body_too_large"),
        answered("gzip bomb, twice", lambda: _zipped(gzip.compress(_bomb(50))), 400, "bad_gzip"),
        answered("gzip bomb in many members", lambda: _zipped(_bomb(5) * 10), 413, "body_too_large"),
        answered("gzip bomb in members of a right size", lambda: _zipped(_bomb_of(_LIMIT) * 50), 400, "bad_gzip"),
        answered("gzip bomb that says it is small", lambda: _zipped(_lying(_bomb(50), 10)), 413, "body_too_large"),
        answered("gzip that says it is a bomb", lambda: _zipped(_lying(zipped, 60_000_000)), 400, "bad_gzip"),
        answered(
            "gzip that says it is too large", lambda: _zipped(_lying(_large_gzip(), 5 * MIB)), 413, "body_too_large"
        ),
        answered("gzip", _zipped(zipped), 200),
        answered("gzip, not said", _zipped(zipped, fields=b""), 200),
        answered("gzip in capitals", _zipped(zipped, fields=b"Content-Encoding: GZIP\r\n"), 200),
        answered("identity that is gzip", _zipped(zipped, fields=b"Content-Encoding: identity\r\n"), 200),
        judged("not compressed", _BODY, accepted=1),
    ]
    return found


def cases() -> list[Case]:
    """All of them."""
    return _large() + _compressed()
