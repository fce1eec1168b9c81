"""A proxy inside a destination's process, for a library that opens its own sockets but can be told a proxy.

The library asks for a host by name; the name is resolved here, and the connection ends where the address was checked.
TLS goes through unopened, so the library verifies the host's name as ever. It listens on loopback, and serves only
who knows a secret that is made anew with it.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from io import BufferedReader
from urllib.parse import urlsplit

from sluicegate.destinations.connecting import connect
from sluicegate.network import Network

MAX_HEAD_BYTES = 64 * 1024
_MAX_UNKNOWN = 128
"""Connections that have not said the secret yet; with more than these the oldest is closed."""
_TRY_AGAIN_S = 0.1
"""Wait after a connection could not be taken, as without a file descriptor for it."""
_HEAD_TIMEOUT_S = 5.0
_PIECE_BYTES = 64 * 1024
_LOOPBACK = "127.0.0.1"
_USER = "sluicegate"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_FAILED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Tunnel:
    """Serves from its making to `close()`; `url` is what the library is told, with the secret in it."""

    def __init__(self, network: Network, *, connect_timeout_s: float) -> None:
        self._network = network
        self._connect_timeout_s = connect_timeout_s
        self._failure: OSError | None = None
        self._unknown: dict[socket.socket, None] = {}
        """In order of arrival; whoever knows the secret says it at once."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._server = socket.create_server((_LOOPBACK, 0))
        secret = secrets.token_hex(32)
        self._login = b"Basic " + b64encode(f"{_USER}:{secret}".encode())
        self.url = f"http://{_USER}:{secret}@{_LOOPBACK}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()

    def take_failure(self) -> OSError | None:
        """Why a connection could not be made since this was last asked: `AddressRefused`, or another error."""
        failure, self._failure = self._failure, None
        return failure

    def close(self) -> None:
        """Take no more connections; those that are open end with the library's."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                self._closed.wait(_TRY_AGAIN_S)
            else:
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        with self._lock:
            oldest = next(iter(self._unknown)) if len(self._unknown) >= _MAX_UNKNOWN else None
            if oldest is not None:
                del self._unknown[oldest]
                _end(oldest)
            self._unknown[client] = None
        try:
            threading.Thread(target=self._serve, args=(client,), name="tunnel", daemon=True).start()
        except RuntimeError:  # no more threads
            self._heard(client)
            client.close()

    def _heard(self, client: socket.socket) -> None:
        """It has said who it is, or will not."""
        with self._lock:
            self._unknown.pop(client, None)

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader, contextlib.suppress(OSError, ValueError):
            head = self._first_head(client, reader)
            if head is None:
                client.sendall(_DENIED)
                return
            with self._connected(client, head) as server:
                server.settimeout(None)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                threading.Thread(target=_pour, args=(server, client), name="tunnel", daemon=True).start()
                if head.is_connect:
                    _pour(client, server)
                else:
                    _forward(head, reader, client, server)

    def _first_head(self, client: socket.socket, reader: BufferedReader) -> _Head | None:
        """The first request of who knows the secret, None of others; raises `OSError` or `ValueError`."""
        too_late = threading.Timer(_HEAD_TIMEOUT_S, _end, (client,))
        too_late.start()
        try:
            head = _read_head(reader)
        finally:
            too_late.cancel()
            self._heard(client)
        return head if head is not None and hmac.compare_digest(head.login, self._login) else None

    def _connected(self, client: socket.socket, head: _Head) -> socket.socket:
        deadline = time.monotonic() + self._connect_timeout_s
        try:
            server = connect(head.host, head.port, network=self._network, deadline=deadline)
        except OSError as error:
            self._failure = error
            if head.is_connect:
                client.sendall(_FAILED)
            raise
        if head.is_connect:
            client.sendall(_ESTABLISHED)
        return server


@dataclass(frozen=True, slots=True)
class _Head:
    """A request's first line and headers: those for us read, the others as they are to go on."""

    is_connect: bool
    host: str
    port: int
    login: bytes
    onward: bytes
    n_body_bytes: int


def _read_head(reader: BufferedReader) -> _Head | None:
    """The next request; None when the client has closed. Raises `ValueError` for what no library of ours sends."""
    lines: list[bytes] = []
    n_bytes = 0
    while (line := reader.readline(MAX_HEAD_BYTES)) not in (b"\r\n", b""):
        lines.append(line)
        n_bytes += len(line)
        if n_bytes > MAX_HEAD_BYTES:
            raise ValueError("a request's head is too long")
    if not lines or not line:
        return None
    method, target, version = lines[0].split()
    login, length, onward = b"", 0, []
    for header in lines[1:]:
        name, _, value = header.partition(b":")
        match name.lower():
            case b"proxy-authorization":
                login = value.strip()
                continue
            case b"proxy-connection":
                continue
            case b"content-length":
                length = int(value)
            case b"transfer-encoding":
                raise ValueError("a body's length is not known beforehand")
        onward.append(header)
    if method == b"CONNECT":
        parts = urlsplit(f"//{target.decode('ascii')}")
        return _Head(True, parts.hostname or "", parts.port or 443, login, b"", 0)
    parts = urlsplit(target.decode("ascii"))
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a request to a proxy names a whole address")
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}".encode()
    first = b" ".join((method, path, version)) + b"\r\n"
    return _Head(False, parts.hostname, parts.port or 80, login, b"".join((first, *onward, b"\r\n")), length)


def _forward(head: _Head | None, reader: BufferedReader, client: socket.socket, server: socket.socket) -> None:
    """Send this request on, and all that follow it on the connection, as long as they are for the same host."""
    try:
        place = head and (head.host, head.port)
        while head is not None and (head.host, head.port) == place:
            server.sendall(head.onward)
            n_left = head.n_body_bytes
            while n_left and (piece := reader.read1(min(n_left, _PIECE_BYTES))):
                server.sendall(piece)
                n_left -= len(piece)
            head = _read_head(reader)
    finally:
        _end(client, server)


def _pour(source: socket.socket, sink: socket.socket) -> None:
    """Pass everything on; the end of one side is the end of both."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            sink.sendall(piece)
    _end(source, sink)


def _end(*connections: socket.socket) -> None:
    for one in connections:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
