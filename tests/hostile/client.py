"""Sends a case to a gateway and checks what comes back."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import Any

from sluicegate.acceptance import Reason
from sluicegate.config.model import GatewayConfig
from tests.hostile.case import Answer, Case, How

PATIENCE_S = 15.0
PROBE = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
_NAMES = {reason.within(GatewayConfig()): reason.name.lower() for reason in Reason}


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body decoded; an empty object when it is empty or no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


async def ask(address: tuple[str, int], case: Case) -> list[Seen]:
    """Send a case on a connection of its own; the answers, or an AssertionError naming what is wrong with them."""
    reader, writer = await asyncio.open_connection(*address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        async with asyncio.timeout(PATIENCE_S):
            sending = asyncio.ensure_future(_send(writer, case))
            try:
                return [] if case.how is How.ABANDONED else await _check(reader, writer, case)
            finally:
                await sending
    except TimeoutError:
        raise AssertionError(f"{case.name}: no answer, or the connection is not ended") from None
    finally:
        writer.close()


async def _send(writer: asyncio.StreamWriter, case: Case) -> None:
    wire = case.wire
    try:
        if case.how is How.PIECES:
            for place in range(len(wire)):
                if writer.is_closing():
                    break
                writer.write(wire[place : place + 1])
                await asyncio.sleep(0)
        else:
            writer.write(wire)
        await writer.drain()
        if case.how is How.HALF_CLOSED:
            writer.write_eof()
    except ConnectionError:
        pass  # refused before the last byte, which is right for some


async def _check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Case) -> list[Seen]:
    seen = []
    for expected in case.answers:
        answer = await read_answer(reader, head=case.wire.startswith(b"HEAD "))
        assert answer is not None, f"{case.name}: the connection ended without an answer"
        seen.append(answer)
        _compare(case, expected, answer)
    if case.closed or case.how is How.HALF_CLOSED:
        assert seen == [] or "connection" in seen[-1].headers or case.how is How.HALF_CLOSED, f"{case.name}: kept"
        rest = await _rest(reader)
        assert rest == b"", f"{case.name}: more after the last answer: {rest[:200]!r}"
    else:
        writer.write(PROBE)
        probed = await read_answer(reader)
        assert probed is not None, f"{case.name}: the connection was not kept"
        assert (probed.status, probed.body) == (200, b'{"status":"ok"}'), f"{case.name}: then {probed}"
    return seen


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Seen | None:
    """The next answer, None at the end of the connection."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"a header came twice: {line}"
        headers[name.lower()] = value
    length = 0 if head else int(headers.get("content-length", "0"))
    return Seen(int(lines[0].split()[1]), headers, await reader.readexactly(length))


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def _compare(case: Case, expected: Answer, seen: Seen) -> None:
    found = f"{case.name}: {seen.status} {seen.body[:300]!r}"
    assert seen.status == expected.status, found
    told = seen.json
    if seen.status >= 400 and not case.wire.startswith(b"HEAD "):
        assert told["success"] is False and told["code"] and told["message"], found
    if expected.code is not None:
        assert told["code"] == expected.code, found
    if expected.accepted is not None:
        assert told["accepted"] == expected.accepted, found
    if expected.reasons is not None:
        assert tuple(_NAMES[rejection["reason"]] for rejection in told["rejected"]) == expected.reasons, found
    for name, value in expected.headers:
        assert seen.headers.get(name) == value, f"{case.name}: {name} is {seen.headers.get(name)!r}"
