"""Bodies that were compressed by the client."""

from __future__ import annotations

import zlib

from sluicegate.gateway.answer import Answer, refusal

MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_SIZE_BYTES = 4
"""A gzip member ends with the size of its content (RFC 1952, 2.3.1)."""
_MAX_RATIO = 1032
"""Deflate cannot do better (zlib.net/zlib_tech.html)."""
_PLAIN = (b"", b"identity")
_GZIP = (b"gzip", b"x-gzip")


class BodyTooLarge(Exception):
    """The body is larger than allowed once decompressed."""


class BadGzip(Exception):
    """The body is not one complete gzip member."""


def plain_body(body: bytes, *, encoding: bytes, max_bytes: int, key: str = "max_body_size") -> bytes | Answer:
    """The body decompressed, or the answer that refuses it; `key` sets `max_bytes`, empty where nothing does.

    Gzip is recognised by the header or by its magic bytes: some SDKs compress without saying so, and no JSON begins
    like that.
    """
    encoding = encoding.strip().lower()
    if encoding in _PLAIN and not body.startswith(MAGIC):
        return body
    if encoding not in _PLAIN and encoding not in _GZIP:
        return refusal(
            415, "unsupported_encoding", "send the body as plain JSON or gzip it once (Content-Encoding: gzip)"
        )
    try:
        return gunzip(body, max_bytes=max_bytes)
    except BodyTooLarge:
        of_key = f" ({key})" if key else ""
        return refusal(413, "body_too_large", f"send at most {max_bytes} bytes after decompression{of_key}")
    except BadGzip as error:
        return refusal(400, "bad_gzip", f"the body cannot be decompressed: {error}")


def gunzip(data: bytes, *, max_bytes: int) -> bytes:
    """The content of one gzip member; never allocates much more than `max_bytes`.

    Raises `BodyTooLarge`, or `BadGzip` for damaged, cut or further data after the member, be it a second member or
    garbage: what another party might read differently is refused. What says by itself that it is too large, and can be,
    is not looked at any further.
    """
    told = int.from_bytes(data[-_SIZE_BYTES:], "little")
    if max_bytes < told <= _MAX_RATIO * len(data):
        raise BodyTooLarge
    inflater = zlib.decompressobj(_GZIP_WBITS)
    try:
        plain = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise BadGzip("it is damaged") from error
    if len(plain) > max_bytes:
        raise BodyTooLarge
    if not inflater.eof:
        raise BadGzip("its end is missing")
    if inflater.unused_data:
        raise BadGzip("there is more data after its end")
    if plain.startswith(MAGIC):
        raise BadGzip("it is compressed twice")
    return plain
