"""The two ends of an HTTP connection, as thin as they can be."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools


class Peer(asyncio.Protocol):
    """A protocol that keeps its transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; a cast, because uvloop's are no subclass of asyncio's."""
        self.transport = cast(asyncio.Transport, transport)


class RequestPeer(Peer):
    """A server's end: calls `received(url, body)` for each request; httptools calls the `on_` methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._chunks: list[bytes] = []

    def received(self, url: bytes, body: bytes) -> None:
        """A whole request has arrived."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; what is not HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_url(self, url: bytes) -> None:
        """The path of the request."""
        self._url = url

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """The end of a request."""
        chunks, self._chunks = self._chunks, []
        self.received(self._url, chunks[0] if len(chunks) == 1 else b"".join(chunks))
