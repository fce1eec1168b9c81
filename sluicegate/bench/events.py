"""The events that the benchmark sends: the same for everyone, rendered before the clock starts.

Event `number` of run `run` is a pure function of both, so the receivers know what must arrive without being told.
Users decide about marketing: those with an odd index refuse it. The index has the parity of the number, so of any
even count of consecutive events exactly half may not reach a destination that needs marketing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

USERS = 5_000
"""Distinct users; even, so that a user's parity is the event's."""

PURPOSES = ("measurement", "functionality", "marketing")
"""What the three webhook destinations need, in their order."""

FREE = "necessary"
"""What every event grants."""

WRITE_KEY = "bench-write-key-0000"

SENT_WIDTH = 19
"""Digits of a send time in nanoseconds of the monotonic clock."""

_SPREAD = 2_654_435_761  # odd, so it keeps parity; spreads consecutive numbers over the users

_PROPERTIES = (
    '"sku":"G74","price":19.95,"qty":2,"cat":"shoes","size":"42","ref":"mail","ab":"b","lang":"de",'
    '"cur":"EUR","tax":3.19,"step":4,"pos":11,"list":"sale","new":true,"w":1920,"h":1080,"v":"4.2","cc":"AT","t":87'
)


class Says(StrEnum):
    """What the events say about consent."""

    MIXED = "mixed"
    """All is granted, but half of the users refuse marketing: what the benchmark sends."""
    GRANTED = "granted"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Workload:
    """The events of one run: its name (at most 12 of `[a-z0-9]`), the time they claim (RFC 3339, UTC), consent."""

    run: str
    timestamp: str = "2026-01-05T12:00:00.000Z"
    says: Says = Says.MIXED

    def message_id(self, number: int) -> str:
        """The id of an event; unique over all runs with different names."""
        return f"{self.run}-{number:08d}"

    def event(self, number: int) -> bytes:
        """The JSON object of one event: about 520 bytes, 20 properties, its send time zero."""
        user = user_of(number)
        marketing = "true" if self.says is Says.GRANTED or permitted(number, "marketing") else "false"
        context = (
            f'"consent":{{"categoryPreferences":{{"functionality":true,"measurement":true,"marketing":{marketing}}}}}'
            if self.says is not Says.NOTHING
            else ""
        )
        return (
            f'{{"type":"track","event":"Product Added","userId":"user-{user:06d}",'
            f'"anonymousId":"anon-{user:06d}","messageId":"{self.message_id(number)}",'
            f'"properties":{{"sent_ns":"{0:0{SENT_WIDTH}d}",{_PROPERTIES}}},"timestamp":"{self.timestamp}",'
            f'"context":{{{context}}}}}'
        ).encode()

    def requests(self, count: int, *, per_request: int, host: str) -> Iterator[bytes]:
        """HTTP requests that carry events 0 to `count`, `per_request` in each; single events go to `/v1/track`."""
        for first in range(0, count, per_request):
            events = [self.event(number) for number in range(first, min(first + per_request, count))]
            if per_request == 1:
                yield post("/v1/track", events[0], host=host)
            else:
                body = b'{"batch":[%s],"sentAt":"%s"}' % (b",".join(events), self.timestamp.encode())
                yield post("/v1/batch", body, host=host)


def user_of(number: int) -> int:
    """Which user sent the event."""
    return number * _SPREAD % USERS


def permitted(number: int, purpose: str) -> bool:
    """Whether the event's consent grants the purpose."""
    return purpose != "marketing" or user_of(number) % 2 == 0


def n_permitted(count: int, purpose: str) -> int:
    """How many of the first `count` events grant the purpose."""
    return count if purpose != "marketing" else (count + 1) // 2


def post(path: str, body: bytes, *, host: str) -> bytes:
    """A whole HTTP request with the benchmark's write key."""
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def stamp(request: bytes, sent_ns: int) -> bytes:
    """The request with this send time in each of its events."""
    return request.replace(_UNSTAMPED, b'"sent_ns":"%0*d"' % (SENT_WIDTH, sent_ns))


_UNSTAMPED = b'"sent_ns":"%0*d"' % (SENT_WIDTH, 0)
