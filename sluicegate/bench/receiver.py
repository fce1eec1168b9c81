"""A webhook receiver: a process that answers `200 {}`, keeps the bodies, and counts the ids in them afterwards.

While events arrive it does as little as it can: take the time, keep the bytes. It writes `{"port": n}` when it
listens and then answers commands, one JSON object a line:

    {"do": "reset", "expected_bytes": n, "delay_ms": 0}       forget everything; answer requests after this delay
    {"do": "poll"}                                            how much has arrived
    {"do": "count", "run": ..., "count": n, "purpose": ...}   a `ReceiverReport` of that run
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from dataclasses import asdict
from typing import Any

import msgspec
import uvloop

from sluicegate.bench.events import permitted
from sluicegate.bench.peer import RequestPeer
from sluicegate.bench.spool import Spool
from sluicegate.bench.tally import Tally
from sluicegate.memory import keep_freed_memory

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Receiver:
    """What the connections share: where bodies go and how late answers are."""

    def __init__(self) -> None:
        self.spool = Spool()
        self.delay_s = 0.0

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; returns the answer."""
        match command["do"]:
            case "reset":
                self.spool.reserve(command.get("expected_bytes", 0))
                self.delay_s = command.get("delay_ms", 0) / 1000
                return {}
            case "poll":
                return {"requests": len(self.spool), "n_bytes": self.spool.n_bytes}
            case "count":
                return self._count(command["run"], command["count"], command["purpose"])
        return {"error": f"unknown command {command['do']!r}"}

    def _count(self, run: str, count: int, purpose: str) -> dict[str, Any]:
        tally = Tally(run, count, lambda number: permitted(number, purpose))
        for body, arrival_ns in self.spool:
            tally.add(body, arrival_ns)
        return asdict(tally.report())


class Connection(RequestPeer):
    """One connection of a client."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self._receiver = receiver

    def received(self, url: bytes, body: bytes) -> None:
        """Keep the body, answer now or later."""
        self._receiver.spool.append(body, time.monotonic_ns())
        if self._receiver.delay_s:
            asyncio.get_running_loop().call_later(self._receiver.delay_s, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Listen and obey until standard input ends."""
    loop = asyncio.get_running_loop()
    receiver = Receiver()
    server = await loop.create_server(lambda: Connection(receiver), "127.0.0.1", port)
    _say({"port": server.sockets[0].getsockname()[1]})
    ended: asyncio.Future[None] = loop.create_future()
    pending = bytearray()

    def read_commands() -> None:
        data = os.read(0, 65_536)
        pending.extend(data)
        while (end := pending.find(b"\n")) >= 0:
            _say(receiver.command(msgspec.json.decode(pending[:end])))
            del pending[: end + 1]
        if not data and not ended.done():
            ended.set_result(None)

    loop.add_reader(0, read_commands)
    await ended
    server.close()


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run as `python -m sluicegate.bench.receiver [PORT]`."""
    keep_freed_memory()
    gc.disable()  # bodies are many and hold no references; walking over them would be most of the work
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))


if __name__ == "__main__":
    main()
