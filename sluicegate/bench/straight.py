"""The straight line: the least that one plain Python process must do for the same work, as a yardstick.

It splits each batch into raw events, decodes of each only type, ids and consent, checks the consent for each receiver,
appends the batch to SQLite (WAL, `synchronous=FULL`), answers 200, and posts the raw events to the receivers. One
commit serves all requests that are waiting. It has no actors, no retries, no cursors, no limits, no accounts and no
second start: what it holds in memory for a receiver is lost when it ends.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

import apsw
import msgspec
import uvloop

from sluicegate.bench.peer import RequestPeer
from sluicegate.bench.poster import Poster

MAX_WAITING = 8
"""Batches that may wait for a receiver before answers are withheld; more cost memory and are slower."""

CONNECTIONS = 4
"""Kept-alive connections to each receiver."""


PAGE_BYTES = 16_384
"""SQLite's page; rows are commits of up to 400 KB, and between 4 and 32 KiB no other size measured better."""


class StraightPlan(msgspec.Struct, frozen=True):
    """Where the database is, and the receivers as pairs of purpose and loopback port."""

    database: str
    hooks: list[tuple[str, int]]
    port: int = 0


class Consent(msgspec.Struct, frozen=True, gc=False):
    """Segment's consent stamp."""

    categoryPreferences: dict[str, bool] = {}


class Context(msgspec.Struct, frozen=True, gc=False):
    """What is read of `context`."""

    consent: Consent = Consent()


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What is read of an event."""

    type: str
    messageId: str
    userId: str | None = None
    anonymousId: str | None = None
    context: Context = Context()


class Body(msgspec.Struct, frozen=True, gc=False):
    """A batch request, its events untouched."""

    batch: list[msgspec.Raw]


class Straight:
    """The whole program: takes requests from the connections, commits them together, posts and answers."""

    def __init__(self, plan: StraightPlan) -> None:
        self._log = apsw.Connection(plan.database)
        self._log.execute(f"PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self._log.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, ids TEXT, events BLOB)")
        self._posters = [
            (purpose, Poster(port, connections=CONNECTIONS, on_room=self._schedule)) for purpose, port in plan.hooks
        ]
        self._requests: list[tuple[asyncio.Transport, list[Any], list[Envelope]]] = []
        self._scheduled = False
        self._split = msgspec.json.Decoder(Body)
        self._decode = msgspec.json.Decoder(Envelope).decode

    async def connect(self) -> None:
        """Connect to every receiver."""
        for _purpose, poster in self._posters:
            await poster.connect()

    def receive(self, transport: asyncio.Transport, url: bytes, body: bytes) -> None:
        """Take one request; it is committed with all others that this turn of the loop brings."""
        events: list[Any] = [body] if url == b"/v1/track" else self._split.decode(body).batch
        self._requests.append((transport, events, list(map(self._decode, events))))
        self._schedule()

    def _schedule(self) -> None:
        if self._requests and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._scheduled = False
        if any(len(poster.waiting) >= MAX_WAITING for _purpose, poster in self._posters):
            return
        requests, self._requests = self._requests, []
        raws = [raw for _transport, events, _envelopes in requests for raw in events]
        envelopes = [envelope for _transport, _events, decoded in requests for envelope in decoded]
        ids = "\n".join([envelope.messageId for envelope in envelopes])
        self._log.execute("INSERT INTO log (ids, events) VALUES (?, ?)", (ids, b"\n".join(raws)))
        for transport, events, _envelopes in requests:
            body = b'{"success":true,"accepted":%d,"rejected":[]}' % len(events)
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        stamps = [envelope.context.consent.categoryPreferences for envelope in envelopes]
        for purpose, poster in self._posters:
            permitted = [raw for raw, stamp in zip(raws, stamps, strict=True) if stamp.get(purpose) is True]
            if permitted:
                poster.post(permitted)


class Connection(RequestPeer):
    """One connection of a client."""

    def __init__(self, straight: Straight) -> None:
        super().__init__()
        self._straight = straight

    def received(self, url: bytes, body: bytes) -> None:
        """Pass the request on."""
        self._straight.receive(self.transport, url, body)


async def serve(plan: StraightPlan) -> None:
    """Listen until standard input ends; writes `{"port": n}` when ready."""
    loop = asyncio.get_running_loop()
    straight = Straight(plan)
    await straight.connect()
    server = await loop.create_server(lambda: Connection(straight), "127.0.0.1", plan.port)
    port = server.sockets[0].getsockname()[1]
    print(msgspec.json.encode({"port": port}).decode(), flush=True)
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(0, lambda: None if ended.done() else ended.set_result(None))
    await ended
    server.close()


def main() -> None:
    """Run as `python -m sluicegate.bench.straight`; the plan comes as a line over standard input."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=StraightPlan)
    Path(plan.database).parent.mkdir(parents=True, exist_ok=True)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(serve(plan))


if __name__ == "__main__":
    main()
