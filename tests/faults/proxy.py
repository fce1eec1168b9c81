"""A small TCP proxy that misbehaves: resets after so many bytes, swallows connections, lets bytes trickle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

CHUNK_BYTES = 64 * 1024


@dataclass(slots=True)
class Fault:
    """What happens to connections that are made from now on; nothing by default.

    `reset_after_bytes` counts what the client has sent (`of_response`: what it would get); `n_resets`, which the proxy
    counts down, is how many connections are reset at most. `answer_bytes_per_s` slows the way back.
    """

    reset_after_bytes: int | None = None
    of_response: bool = False
    n_resets: int | None = None
    answer_bytes_per_s: float | None = None


class Proxy:
    """Listens on loopback and passes on to `port`, in a thread of its own; `fault` may be changed at any time."""

    def __init__(self, port: int, *, listen: int = 0) -> None:
        self.fault = Fault()
        self.n_fired = 0
        """How many connections have met a fault."""
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server = self._do(asyncio.start_server(self._serve, "127.0.0.1", listen))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End every connection there is; kept-alive ones would not meet a new fault."""
        self._do(self._cut())

    def close(self) -> None:
        """Listen no more; a second time does nothing."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _end(self) -> None:
        self._server.close()
        await self._cut()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.fault
        self._writers.add(writer)
        try:
            behind, ahead = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(ahead)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by `_end`; asyncio would report it as an error
                await asyncio.gather(self._there(reader, ahead, writer, fault), self._back(behind, writer, fault))
        finally:
            for one in (writer, ahead):
                self._writers.discard(one)
                one.transport.abort()

    async def _there(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, client: asyncio.StreamWriter, fault: Fault
    ) -> None:
        await self._pump(reader, ahead, client, fault, is_response=False)

    async def _back(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        await self._pump(behind, writer, writer, fault, is_response=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        fault: Fault,
        *,
        is_response: bool,
    ) -> None:
        """Pass on until the end, or until the fault's bytes have gone by and it resets the client."""
        limit = fault.reset_after_bytes if is_response is fault.of_response else None
        bytes_per_s = fault.answer_bytes_per_s if is_response else None
        n_passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES if bytes_per_s is None else 1):
                if fault.n_resets == 0:
                    limit = None
                data = data if limit is None else data[: limit - n_passed]
                writer.write(data)
                n_passed += len(data)
                if limit is not None and n_passed >= limit:
                    return self._reset(client, fault)
                await writer.drain()
                if bytes_per_s is not None:
                    self.n_fired += n_passed == 1
                    await asyncio.sleep(1 / bytes_per_s)
            writer.write_eof()

    def _reset(self, client: asyncio.StreamWriter, fault: Fault) -> None:
        self.n_fired += 1
        if fault.n_resets is not None:
            fault.n_resets -= 1
        connection: socket.socket = client.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()


class BlackHole:
    """A port whose packets disappear: its queue is full, so that connecting gets no answer at all."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fillers = [self._fill() for _ in range(3)]

    def _fill(self) -> socket.socket:
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(("127.0.0.1", self.port))
        return filler

    def close(self) -> None:
        """Free the port."""
        for one in (*self._fillers, self._listener):
            one.close()
