"""Sends the hostile corpus at a fixed rate from a process of its own, which does as little as it can.

    python -m tests.hostile.sender HOST PORT PER_SECOND [FIRST]

All bytes are made before the first is sent. The order is mixed, and the same every time; FIRST says with which request
of it to begin. Says "ready" when that is done, sends from the first line on its standard input until that ends, and
then writes the statuses it has seen, and what was wrong, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from tests.hostile.case import Case, How
from tests.hostile.corpus import CORPUS

STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
LEFT_AFTER_S = 15.0
"""Connections that the gateway should have ended by then count as wrong."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A case with its bytes, and the statuses that it must be answered with."""

    name: str
    wire: bytes
    statuses: tuple[int, ...]
    closed: bool
    how: How

    @classmethod
    def of(cls, case: Case) -> Shot:
        """Everything that has to be made is made here."""
        return cls(case.name, case.wire, tuple(answer.status for answer in case.answers), case.closed, case.how)


@dataclass(slots=True)
class Found:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection: writes, counts answers, and ends it unless the gateway has to."""

    def __init__(self, shot: Shot, found: Found) -> None:
        self._shot = shot
        self._found = found
        self._got = b""
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send everything."""
        self._transport = transport = cast(asyncio.Transport, transport)
        shot = self._shot
        if shot.how is How.PIECES:
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send_from(0)
            return
        transport.write(shot.wire)
        if shot.how is How.HALF_CLOSED:
            transport.write_eof()
        elif shot.how is How.ABANDONED:
            transport.close()

    def _send_from(self, place: int) -> None:
        if self._transport is not None and place < len(self._shot.wire) and not self._transport.is_closing():
            self._transport.write(self._shot.wire[place : place + 1])
            asyncio.get_running_loop().call_soon(self._send_from, place + 1)

    def data_received(self, data: bytes) -> None:
        """End the connection after the last answer, if it is ours to end."""
        self._got += data
        shot = self._shot
        mine = not shot.closed and shot.how is not How.HALF_CLOSED
        if mine and self._transport is not None and len(STATUS.findall(self._got)) >= len(shot.statuses):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Compare."""
        self._transport = None
        statuses = tuple(map(int, STATUS.findall(self._got)))
        self._found.statuses.update(statuses)
        if self._shot.how is not How.ABANDONED and statuses != self._shot.statuses:
            self._found.wrong.append(f"{self._shot.name}: {statuses}")
        if not self.ended.done():
            self.ended.set_result(None)


async def _shoot(address: tuple[str, int], shot: Shot, found: Found) -> None:
    loop = asyncio.get_running_loop()
    try:
        _, client = await loop.create_connection(lambda: Client(shot, found), *address)
        await asyncio.wait_for(client.ended, LEFT_AFTER_S)
    except (OSError, TimeoutError) as error:
        found.wrong.append(f"{shot.name}: {type(error).__name__}")


async def send(address: tuple[str, int], per_s: float, first: int, ended: asyncio.Event) -> Found:
    """Send the corpus, over and over, until told to end; then wait for the answers that are missing."""
    loop, found = asyncio.get_running_loop(), Found()
    shots = [Shot.of(case) for case in CORPUS]
    random.Random(len(shots)).shuffle(shots)
    shots = shots[first % len(shots) :] + shots[: first % len(shots)]
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    loop.run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: ended.set())
    began, running = loop.time(), set[asyncio.Task[None]]()
    for number, shot in enumerate(itertools.cycle(shots)):
        await asyncio.sleep(began + number / per_s - loop.time())
        if ended.is_set():
            break
        task = loop.create_task(_shoot(address, shot, found))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return found


async def _main(host: str, port: str, per_s: str, first: str = "0") -> None:
    found = await send((host, int(port)), float(per_s), int(first), asyncio.Event())
    print(json.dumps({"statuses": found.statuses, "wrong": found.wrong}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
