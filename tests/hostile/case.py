"""What a hostile client sends, and what it must be answered."""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

KEY = base64.b64encode(b"web-key:")
BASIC = b"Authorization: Basic " + KEY + b"\r\n"
REGULATION_KEY = b"privacy-key"
HOST = b"Host: a\r\n"
MIB = 1 << 20


class How(enum.Enum):
    """How the bytes are sent."""

    WHOLE = enum.auto()
    PIECES = enum.auto()
    """One byte after another, each in a segment of its own."""
    HALF_CLOSED = enum.auto()
    """The client ends its direction after the last byte, and still reads."""
    STALLED = enum.auto()
    """The client sends no more, and keeps the connection open."""
    ABANDONED = enum.auto()
    """The client goes away without reading."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One expected answer; None for what may be anything."""

    status: int
    code: str | None = None
    accepted: int | None = None
    reasons: tuple[str, ...] | None = None
    """`Reason` names in lower case of the rejected events, in order."""
    headers: tuple[tuple[str, str | None], ...] = ()
    """Header fields by name in lower case; None for one that must be absent."""


@dataclass(frozen=True, slots=True)
class Case:
    """One connection of a hostile client."""

    name: str
    data: bytes | Callable[[], bytes]
    """The bytes, or what makes them when they are many."""
    answers: tuple[Answer, ...]
    closed: bool
    """Whether the gateway ends the connection after the last answer."""
    how: How = How.WHOLE

    @property
    def wire(self) -> bytes:
        """The bytes."""
        return self.data if isinstance(self.data, bytes) else self.data()

    def sent(self, how: How) -> Case:
        """The same in another way."""
        return replace(self, how=how, name=f"{self.name}, {how.name.lower().replace('_', ' ')}")


def refused(name: str, data: bytes | Callable[[], bytes], status: int = 400, code: str = "bad_request") -> Case:
    """A request after which the connection ends."""
    return Case(name, data, (Answer(status, code),), closed=True)


def answered(name: str, data: bytes | Callable[[], bytes], status: int, code: str | None = None) -> Case:
    """A request after which the connection goes on."""
    return Case(name, data, (Answer(status, code),), closed=False)


def judged(name: str, body: bytes | Callable[[], bytes], *reasons: str, accepted: int = 0) -> Case:
    """A batch that is answered 200, with these rejections."""
    return Case(name, _lazily(body), (Answer(200, None, accepted, reasons),), closed=False)


def bad_body(name: str, body: bytes | Callable[[], bytes], code: str, status: int = 400) -> Case:
    """A batch body that is refused as a whole, on a connection that goes on."""
    return answered(name, _lazily(body), status, code)


def _lazily(body: bytes | Callable[[], bytes]) -> bytes | Callable[[], bytes]:
    return post(body) if isinstance(body, bytes) else lambda: post(body())


def post(body: bytes, *, path: bytes = b"/v1/batch", fields: bytes = b"", key: bytes = BASIC) -> bytes:
    """A well-formed POST."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + key + fields + length + b"\r\n" + body


def event(*extra: str, **changes: object) -> bytes:
    """A good track event as JSON; `extra` are members as text, `changes` members by value (... leaves one out)."""
    whole: dict[str, object] = {"type": "track", "event": "Seen", "userId": "u1", "messageId": "m1", **changes}
    members = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in whole.items() if value is not ...]
    return ("{" + ",".join([*members, *extra]) + "}").encode("utf-8", "surrogatepass")


def batch(*events: bytes, rest: bytes = b"") -> bytes:
    """A batch body of these events."""
    return b'{"batch":[' + b",".join(events) + b"]" + rest + b"}"


def chunks(body: bytes, size: int) -> bytes:
    """A body in chunks of this size."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CHUNKED = b"POST /v1/batch HTTP/1.1\r\n" + HOST + BASIC + b"Transfer-Encoding: chunked\r\n\r\n"
