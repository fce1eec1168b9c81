"""Requests out of the bytes of one connection: each is handed on when it is complete.

Parsing is llhttp's (through httptools); everything here is about limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from sluicegate.gateway.answer import refusal
from sluicegate.gateway.exchange import Exchange
from sluicegate.gateway.fields import (
    SINGLE,
    HeadRefused,
    body_too_large,
    check_head,
    head_too_large,
    joined,
    malformed,
)
from sluicegate.gateway.heads import END, MAX_HEAD_BYTES, Head
from sluicegate.gateway.limits import FREE_CHUNKS, MIN_CHUNK_BYTES
from sluicegate.gateway.phase import Phase
from sluicegate.gateway.traffic import overloaded
from sluicegate.gateway.watch import Watch

if TYPE_CHECKING:
    from sluicegate.gateway.protocol import Connection

_IDLE, _HEAD, _BODY, _LINGER = Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.LINGER


class Reader:
    """What a connection is reading; its parser calls the `on_` methods, and it tells `watch` how far it is."""

    def __init__(self, connection: Connection, watch: Watch) -> None:
        self.phase = _IDLE
        self.current: Exchange | None = None
        """The request whose body is being read."""
        self._connection = connection
        self._watch = watch
        self._traffic = traffic = connection.traffic
        self._limits = traffic.limits
        self._parser = httptools.HttpRequestParser(self)
        self._piece: bytes | None = None
        """What is being parsed, if a request begins with it."""
        self._reset_message()

    def _reset_message(self) -> None:
        self._target = b""
        self._fields: dict[bytes, bytes] = {}
        self._n_fields = 0
        self._head_bytes = 0
        self._chunks = 0
        self._body: list[bytes] = []
        self.body_bytes = 0
        self._upgrade_left = 0

    def read(self, data: bytes) -> None:
        """Parse what came; everything else happens in the parser's calls."""
        if self.phase is _IDLE:
            self._watch.raw = 0
            self._piece = data
        self._watch.fed = len(data)
        if self._upgrade_left:
            data = self._take_upgrade_body(data)
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._go_on_after_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                self._cannot_parse(error)
                break
        self._piece = None

    def _cannot_parse(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if self.phase is _LINGER:
            return
        if isinstance(cause, HeadRefused):
            self._connection.refuse(cause.answer)
        else:
            self._connection.refuse(malformed(f"this is not valid HTTP: {error}"))

    def begin(self, method: bytes, fields: dict[bytes, bytes]) -> Exchange:
        """A request's header is complete: it is in hand from now on."""
        self._traffic.in_hand += 1
        exchange = self.current = Exchange(self._connection, method, fields)
        return exchange

    def abandon(self) -> Exchange:
        """Read no further; return the request that is being read, of which perhaps nothing is known."""
        exchange = self.current or self.begin(b"", self._fields)
        self.current = None
        self._body = []
        self.phase = _LINGER
        return exchange

    # -- heads that were read before --------------------------------------------------------------------------------

    def take_known(self, data: bytes) -> bool:
        """Take a whole request with a known head past the parser; false when it is not one."""
        end = data.find(END, 0, MAX_HEAD_BYTES) + len(END)
        head = self._traffic.heads.find(data[:end])
        if head is None or head.length != len(data) - end:
            return False
        exchange = self.begin(head.method, head.fields)
        exchange.keep_alive = True
        exchange.head, exchange.route, exchange.query = head, head.route, head.query
        self._traffic.admit_whole(exchange, head.length)
        self._connection.complete(exchange, data[end:])
        return True

    def _learn(self, piece: bytes, exchange: Exchange, n_body: int) -> None:
        """Remember the head of a request that came in one piece, if nothing about it depends on anything else."""
        fields = exchange.headers
        plain = exchange.method == b"POST" and exchange.keep_alive and exchange.decided is None
        if not plain or b"content-length" not in fields or b"expect" in fields or self._parser.should_upgrade():
            return
        end = len(piece) - n_body
        if end == piece.find(END, 0, MAX_HEAD_BYTES) + len(END):
            self._traffic.heads.learn(
                piece[:end], Head(exchange.method, fields, exchange.route, exchange.query, n_body)
            )

    # -- the parser's calls -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self.phase is _LINGER:
            raise HeadRefused(malformed("the connection is closing"))
        self.phase = _HEAD

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._target += url
        if len(self._target) > self._limits.max_line_bytes:
            raise HeadRefused(refusal(414, "uri_too_long", "send a shorter request target", close=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field after the last chunk, which is counted and dropped."""
        self._n_fields += 1
        size = len(name) + len(value) + 4
        self._head_bytes += size
        limits = self._limits
        if (
            size > limits.max_line_bytes
            or self._n_fields > limits.max_fields
            or self._head_bytes + len(self._target) > limits.max_head_bytes
        ):
            raise HeadRefused(head_too_large(limits))
        name = name.lower()
        if name in SINGLE and self.phase is _HEAD:
            if name in self._fields:
                raise HeadRefused(malformed(f"the header {name.decode()} comes twice"))
            self._fields[name] = value
        elif name in self._traffic.listed and self.phase is _HEAD:
            before = self._fields.get(name)
            self._fields[name] = value if before is None else joined(name, before, value)

    def on_headers_complete(self) -> None:
        """The header is complete: decide whether the body is wanted, before it comes."""
        parser = self._parser
        method = parser.get_method()
        version = parser.get_http_version()
        length = check_head(method, version, self._fields, limits=self._limits)
        exchange = self.begin(method, self._fields)
        exchange.keep_alive = version == "1.1" and parser.should_keep_alive()
        exchange.route, exchange.query = self._traffic.routes.find(self._target)
        exchange.decided = exchange.route.decide(method)
        self.phase = _BODY
        self._watch.timed = None
        if length:
            self._expect_body(exchange, length)
        elif exchange.decided is None:
            self._traffic.admit(exchange, 0)

    def _expect_body(self, exchange: Exchange, length: int) -> None:
        if self._parser.should_upgrade():
            if length < 0:
                raise HeadRefused(malformed("send no Upgrade header together with Transfer-Encoding"))
            self._upgrade_left = length
        if exchange.decided is None:
            self._traffic.admit(exchange, length)
        if b"expect" in self._fields:
            if exchange.decided is not None:
                raise HeadRefused(exchange.decided.closing())
            self._connection.invite_body()
        if exchange.decided is not None and not exchange.keep_alive:
            raise HeadRefused(exchange.decided.closing())

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self.body_bytes // MIN_CHUNK_BYTES:
            raise HeadRefused(malformed("send the body in fewer chunks"))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self.body_bytes += len(data)
        exchange = self.current
        assert exchange is not None
        if self.body_bytes > self._limits.max_body_bytes:
            raise HeadRefused(body_too_large(self._limits))
        if exchange.decided is None:
            if not self._traffic.hold(exchange, len(data)):
                raise HeadRefused(overloaded("too many bytes in hand").closing())
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is complete: hand it on."""
        if self._upgrade_left:
            return
        exchange = self.current
        assert exchange is not None
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._piece is not None:
            self._learn(self._piece, exchange, len(body))
            self._piece = None
        self._reset_message()
        self.phase = _IDLE
        self._watch.timed = None
        self._watch.raw = -self._watch.fed
        self._connection.complete(exchange, body)

    # -- requests that offer an upgrade ------------------------------------------------------------------------------
    # A server may ignore an offer (RFC 9110, 7.8), but llhttp stops after such a header and leaves the body to us.

    def _go_on_after_upgrade(self, rest: bytes) -> bytes:
        """Take the body of the request that offered it; return what is left to parse."""
        if self._upgrade_left and rest:
            rest = self._take_upgrade_body(rest)
        return rest if self.phase is not _LINGER else b""

    def _take_upgrade_body(self, data: bytes) -> bytes:
        """Take the body, or a part of it, from the front of the data; return what is left."""
        piece = data[: self._upgrade_left]
        try:
            self.on_body(piece)
        except HeadRefused as refused:
            self._connection.refuse(refused.answer)
            return b""
        self._upgrade_left -= len(piece)
        if not self._upgrade_left:
            self.on_message_complete()
        return data[len(piece) :]
