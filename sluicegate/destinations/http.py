"""A small HTTP/1.1 client for the one thing destinations do: post a body over a kept-alive connection, in bounded time.

Parsing is httptools' (llhttp). Against `http.client` it costs a third of the CPU per request, and its time limit holds
for the whole exchange, a response of one byte a second included. No redirects, no cookies, no proxies, and no private
address that the configuration does not allow (`sluicegate.network`).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult

import httptools

from sluicegate.destinations.connecting import connect, left
from sluicegate.network import Network

MAX_RESPONSE_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0
MAX_AGE_S = 300.0
"""A connection is replaced after this time, so that a name that has moved is followed."""
EXCERPT_BYTES = 4 * 1024
"""Twice what is kept of an answer, so that a secret at the end of what is kept is still seen whole, and masked."""
_RECEIVE_BYTES = 16 * 1024
_CLOSED = (ConnectionError, ssl.SSLEOFError)
"""What sending raises once the other side has closed; the second over TLS, whatever the reason."""
PUBLIC_ONLY = Network()


class HttpError(OSError):
    """The other side broke the connection or the protocol; whether it took the request is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status, headers by lower-case name, and the first 64 KiB of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def excerpt(self) -> str:
        """The beginning of the body as one printable line, for a reason."""
        return self.beginning(400)[:200]

    def beginning(self, max_bytes: int = EXCERPT_BYTES) -> str:
        """The beginning of the body as one printable line; as it came, so a compressed one makes no sense."""
        text = self.body[:max_bytes].decode("utf-8", "replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: SplitResult) -> Origin:
        """The origin of a checked http or https address."""
        return cls(url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80))

    @property
    def header(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode()
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class HttpConnection:
    """One kept-alive connection, for one thread at a time; `network` says which private addresses it may have."""

    def __init__(self, origin: Origin, *, network: Network = PUBLIC_ONLY, tls: ssl.SSLContext | None = None) -> None:
        self.origin = origin
        self._network = network
        self._renew_at = 0.0
        self._tls = tls or (ssl.create_default_context() if origin.scheme == "https" else None)
        self._socket: socket.socket | None = None
        self.sent = False
        """Whether anything of the last request may have reached the other side."""

    def exchange(self, request: bytes, *, timeout_s: float) -> Answer:
        """Send a complete request and return the answer, within this time in all; raises `OSError`.

        A kept-alive connection that turns out closed before anything was answered is replaced once, at once.
        """
        self.sent = False
        deadline = time.monotonic() + timeout_s
        if self._socket is not None and (time.monotonic() >= self._renew_at or _has_ended(self._socket)):
            self.close()
        reused = self._socket is not None
        reader = _Reader()
        try:
            return self._exchange(request, reader, deadline)
        except (HttpError, ConnectionError):
            if not reused or reader.n_bytes:
                raise
        return self._exchange(request, _Reader(), deadline)

    def connect(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect now, TLS included, if not connected; raises `OSError`."""
        if self._socket is None:
            self._socket = self._connected(time.monotonic() + timeout_s)

    def close(self) -> None:
        """Close the connection; the next exchange opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes, reader: _Reader, deadline: float) -> Answer:
        try:
            if self._socket is None:
                self._socket = self._connected(min(deadline, time.monotonic() + CONNECT_TIMEOUT_S))
            self._socket.settimeout(left(deadline))
            self.sent = True
            with contextlib.suppress(*_CLOSED):  # one that answers early (413) may close without reading on
                self._socket.sendall(request)  # its time limit is for all of it
            while not reader.done:
                self._socket.settimeout(left(deadline))
                reader.feed(self._socket.recv(_RECEIVE_BYTES))
        except BaseException:
            self.close()
            raise
        if not reader.reusable:
            self.close()
        return reader.answer()

    def _connected(self, deadline: float) -> socket.socket:
        self._renew_at = time.monotonic() + MAX_AGE_S
        host, port = self.origin.host, self.origin.port
        return connect(host, port, network=self._network, deadline=deadline, finish=self._secured)

    def _secured(self, plain: socket.socket) -> socket.socket:
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=self.origin.host)


@dataclass(slots=True)
class _Reader:
    """Reads one response; interim responses (1xx) are passed over."""

    done: bool = False
    reusable: bool = False
    n_bytes: int = 0
    status: int = 0
    _headers: dict[str, str] = field(default_factory=dict)
    _body: list[bytes] = field(default_factory=list)
    _parser: httptools.HttpResponseParser = field(init=False)

    def __post_init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what was received; nothing means that the other side closed."""
        if not data:
            return self._end()
        self.n_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.done:
                raise HttpError(f"answered something that is not HTTP: {error}") from error
            self.reusable = False
        if not self.done and self.n_bytes >= MAX_RESPONSE_BYTES:
            if not self.status:
                raise HttpError("answered more than 64 KiB of headers")
            self.done = True

    def answer(self) -> Answer:
        """The response read."""
        return Answer(self.status, self._headers, b"".join(self._body)[:MAX_RESPONSE_BYTES])

    def _end(self) -> None:
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if not self.status or framed:
            raise HttpError("closed the connection before the answer was complete")
        self.done = True

    def on_message_begin(self) -> None:
        if self.done:
            self.reusable = False  # what comes behind the answer is none

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.done:
            return
        if status >= 200:
            self.status = status
        else:
            self._headers.clear()

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self.status and not self.done:
            self.done = True
            self.reusable = self._parser.should_keep_alive()


def _has_ended(connection: socket.socket) -> bool:
    """Whether an idle connection was closed, or has bytes that nobody asked for; then it is of no more use."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)
        try:
            connection.recv(1)
        except ssl.SSLWantReadError:
            return False  # what was readable, if anything, were session tickets, which are taken in here
        except OSError:
            return True
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
