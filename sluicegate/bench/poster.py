"""The straight line's HTTP client: raw batches over kept-alive connections, one unanswered request on each."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from sluicegate.bench.peer import Peer
from sluicegate.bench.response import ResponseParser


class Poster:
    """Posts to one receiver; `on_room` is called whenever less waits than before."""

    def __init__(self, port: int, *, connections: int, on_room: Callable[[], None]) -> None:
        self.idle: deque[PostConnection] = deque()
        self.waiting: deque[list[Any]] = deque()
        self._port = port
        self._n_connections = connections
        self._on_room = on_room
        self._head = f"POST /hook HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"

    async def connect(self) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(self._n_connections):
            _transport, connection = await loop.create_connection(lambda: PostConnection(self), "127.0.0.1", self._port)
            self.idle.append(connection)

    def post(self, events: list[Any]) -> None:
        """Send these raw events as one batch, now or when a connection is free."""
        if self.idle:
            self.idle.popleft().send(self.request(events))
        else:
            self.waiting.append(events)

    def request(self, events: list[Any]) -> bytes:
        """The HTTP request with these events."""
        body = b'{"batch":[%s]}' % b",".join(events)
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, connection: PostConnection) -> None:
        """A connection is free again."""
        if self.waiting:
            connection.send(self.request(self.waiting.popleft()))
            self._on_room()
        else:
            self.idle.append(connection)


class PostConnection(Peer):
    """One connection; anything but a 200 ends the program, which retries nothing."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._parser = ResponseParser()

    def send(self, request: bytes) -> None:
        """Send a request."""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer."""
        for status, _body in self._parser.feed(data):
            if status != 200:
                sys.exit(f"the receiver answered {status}")
            self._poster.answered(self)
