"""A TCP server that reads requests and answers each connection by a script, down to the byte."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from tests.doubles.listener import Listener

Script = Callable[[socket.socket, int], None]
"""(connection, its number from 0): what to do with it; it is closed afterwards."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawServer:
    """Runs the script for every connection, each in a thread; keeps the requests that the script reads."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1") -> None:
        self._script = script
        self.requests: list[bytes] = []
        self._listener = Listener(self._serve, host=host)
        self.port = self._listener.port
        self.url = f"http://127.0.0.1:{self.port}/"
        self.close = self._listener.close

    @property
    def n_connections(self) -> int:
        return self._listener.n_connections

    def read_request(self, connection: socket.socket) -> bool:
        """Read one request; False when the client has closed."""
        request = read_request(connection)
        if request is not None:
            self.requests.append(b"\r\n\r\n".join(request))
        return request is not None

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            self._script(connection, number)


def read_request(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """The head and the body of the next request; None when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head, body
