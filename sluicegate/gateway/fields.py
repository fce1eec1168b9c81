"""The header fields that the gateway reads, and the shape a request's header must have."""

from __future__ import annotations

from sluicegate.gateway.answer import Answer, refusal
from sluicegate.gateway.limits import Limits

SINGLE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-encoding",
        b"expect",
        b"authorization",
        b"x-write-key",
        b"x-ip-policy",
        b"origin",
        b"access-control-request-headers",
    )
)
"""Fields that are read; each may come once."""


class HeadRefused(Exception):
    """The header makes the request one that must not be read on; the connection ends with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def joined(name: bytes, before: bytes, value: bytes) -> bytes:
    """One value of a field that came twice (RFC 9110, 5.3; for cookies RFC 9113, 8.2.3)."""
    return before + (b"; " if name == b"cookie" else b", ") + value


def malformed(message: str) -> Answer:
    """400 and the end of the connection: what follows could be understood in two ways (RFC 9112, 11.2)."""
    return refusal(400, "bad_request", message, close=True)


def head_too_large(limits: Limits) -> Answer:
    """431 (RFC 6585)."""
    return refusal(
        431,
        "headers_too_large",
        f"send at most {limits.max_fields} header fields, {limits.max_line_bytes} bytes in one"
        f" and {limits.max_head_bytes} in all",
        close=True,
    )


def body_too_large(limits: Limits) -> Answer:
    """413 before the body is read."""
    message = f"send at most {limits.max_body_bytes} bytes in one request (max_body_size)"
    return refusal(413, "body_too_large", message, close=True)


def check_head(method: bytes, version: str, fields: dict[bytes, bytes], *, limits: Limits) -> int:
    """The length of the body, -1 when it comes in chunks; raises `HeadRefused` for a header with two readings.

    The parser (llhttp) has refused most of those already; this refuses what it lets through.
    """
    if version != "1.1":
        if version != "1.0":
            raise HeadRefused(malformed("use HTTP/1.1"))
        if b"transfer-encoding" in fields:
            raise HeadRefused(malformed("HTTP/1.0 has no Transfer-Encoding"))
        fields.pop(b"expect", None)
    elif b"host" not in fields:
        raise HeadRefused(malformed("the Host header is missing"))
    if method == b"CONNECT":
        raise HeadRefused(refusal(405, "method_not_allowed", "this is not a proxy", close=True))
    if b"transfer-encoding" in fields:
        if b"content-length" in fields or fields[b"transfer-encoding"].strip().lower() != b"chunked":
            raise HeadRefused(malformed("use Content-Length, or Transfer-Encoding: chunked alone"))
        length = -1
    else:
        length = int(fields.get(b"content-length", b"0"))
    if length > limits.max_body_bytes:
        raise HeadRefused(body_too_large(limits))
    if fields.get(b"expect", b"100-continue").strip().lower() != b"100-continue":
        raise HeadRefused(refusal(417, "expectation_failed", "send no Expect header", close=True))
    return length
