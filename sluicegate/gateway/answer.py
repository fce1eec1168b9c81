"""Answers as bytes: status line, headers and JSON body in one piece, because one write is one packet."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import msgspec

JSON = b"application/json"

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a request is answered with; `close` ends the connection after it, `shared` answers are sent many times."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False
    shared: bool = False

    def wire(self, *, date: bytes, extra: bytes = b"", keep_alive: bool = True, head_only: bool = False) -> bytes:
        """The answer as sent; `extra` are further header lines, `head_only` leaves out the body (HEAD)."""
        lines = b"".join(b"%b: %b\r\n" % pair for pair in self.headers)
        connection = b"" if keep_alive and not self.close else b"Connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n%b" % (
            self.status,
            _REASONS.get(self.status, b"Unknown"),
            date,
            self.content_type,
            len(self.body),
            lines,
            extra,
            connection,
            b"" if head_only else self.body,
        )

    def closing(self) -> Answer:
        """The same answer, after which the connection ends."""
        return replace(self, close=True)


def accepted(count: int, rejected: Sequence[Mapping[str, Any]] = ()) -> Answer:
    """200: `count` events are on disk, the rejected ones never will be.

    Exactly 200 and never 202 or 204: several SDKs take any other status for a failure and send again.
    """
    if not rejected and count < len(_ACCEPTED):
        return _ACCEPTED[count]
    return Answer(200, _encode({"success": True, "accepted": count, "rejected": rejected}))


def refusal(status: int, code: str, message: str, *, close: bool = False, retry_after_s: int | None = None) -> Answer:
    """An error with the `code` and `message` without which rudder-sdk-python sends the request again."""
    headers = () if retry_after_s is None else ((b"Retry-After", b"%d" % retry_after_s),)
    body = _encode({"success": False, "code": code, "message": message})
    return Answer(status, body, headers=headers, close=close)


def unavailable(code: str, message: str, *, close: bool = False) -> Answer:
    """503 with a whole number of seconds, spread so that the clients do not all return at once."""
    return refusal(503, code, message, close=close, retry_after_s=random.randint(1, 5))


DEFECT = refusal(500, "internal_error", "this is a defect; the log of the gateway tells more")

_ACCEPTED = [Answer(200, _encode({"success": True, "accepted": n, "rejected": []}), shared=True) for n in range(512)]
