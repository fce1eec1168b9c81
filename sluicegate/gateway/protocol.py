"""HTTP/1.1 on one connection: bytes in, `Exchange`s to the handlers, answers out in order.

It is our own because a general server costs three times as much per request and has none of the limits that a server
on the open internet needs. Parsing is llhttp's (through httptools); everything here is about limits and order.

Slow clients are found by one timer for all connections (`Traffic.tick`), which looks at the deadline that each
connection keeps; a request that arrives in one piece sets none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast

import httptools

from sluicegate.gateway.answer import Answer, refusal, unavailable
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
from sluicegate.gateway.limits import FREE_CHUNKS, MAX_CHUNK_OVERHEAD_BYTES, MIN_CHUNK_BYTES
from sluicegate.gateway.phase import Phase
from sluicegate.gateway.traffic import Traffic, overloaded

log = logging.getLogger(__name__)

_IDLE, _HEAD, _BODY, _LINGER = Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.LINGER


class Connection(asyncio.Protocol):
    """One client; its parser calls the `on_` methods."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._limits = traffic.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._pending: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._paused = False
        self._writable = True
        self._ended = False
        self._phase = _IDLE
        self._timed: Phase | None = None
        self._deadline = 0.0
        self._since = 0.0
        self._raw = 0
        self._fed = 0
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
        self._body_bytes = 0
        self._timed_body_bytes = 0
        self._upgrade_left = 0

    # -- the transport's calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; with too many connections, say so and end."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._deadline = self.traffic.clock() + self._limits.keep_alive_s
        if not self.traffic.opened(self):
            answer = unavailable("too_many_connections", "try again later", close=True)
            transport.write(answer.wire(date=self.traffic.date))
            transport.close()
            self._phase = _LINGER

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it asked for and is being stored stays asked for."""
        self._transport = None
        self._phase = _LINGER
        if self._current is not None:
            self.traffic.release(self._current)
            self._current = None
        self._pending.clear()
        self.traffic.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came; everything else happens in the parser's calls."""
        phase = self._phase
        if phase is _LINGER:
            return
        if phase is _IDLE:
            if self._take_known(data):
                return
            self._raw = 0
            self._piece = data
        self._fed = len(data)
        if self._upgrade_left:
            data = self._take_upgrade_body(data)
        if data:
            self._feed(data)
        self._piece = None
        if self._phase is not _IDLE:
            self._watch_slow()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers."""
        self._ended = True
        if not self._pending:
            return False
        self._pending[-1].keep_alive = False
        self._phase = _LINGER
        self._deadline = float("inf")
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more requests from it."""
        self._writable = False
        self._since = self.traffic.clock()
        self._set_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._set_reading()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if self._phase is _LINGER:
                return
            if isinstance(cause, HeadRefused):
                self._refuse(cause.answer)
            else:
                self._refuse(malformed(f"this is not valid HTTP: {error}"))

    # -- heads that were read before --------------------------------------------------------------------------------

    def _take_known(self, data: bytes) -> bool:
        """Take a whole request with a known head past the parser; false when it is not one."""
        end = data.find(END, 0, MAX_HEAD_BYTES) + len(END)
        head = self.traffic.heads.find(data[:end])
        if head is None or head.length != len(data) - end:
            return False
        exchange = self._begin(head.method, head.fields)
        exchange.keep_alive = True
        exchange.head, exchange.route, exchange.query = head, head.route, head.query
        self.traffic.admit(exchange, head.length)
        self._complete(exchange, data[end:])
        return True

    def _learn(self, piece: bytes, exchange: Exchange, n_body: int) -> None:
        """Remember the head of a request that came in one piece, if nothing about it depends on anything else."""
        fields = exchange.headers
        plain = exchange.method == b"POST" and exchange.keep_alive and exchange.decided is None
        if not plain or b"content-length" not in fields or b"expect" in fields or self._parser.should_upgrade():
            return
        end = len(piece) - n_body
        if end == piece.find(END, 0, MAX_HEAD_BYTES) + len(END):
            self.traffic.heads.learn(piece[:end], Head(exchange.method, fields, exchange.route, exchange.query, n_body))

    # -- the parser's calls -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._phase is _LINGER:
            raise HeadRefused(malformed("the connection is closing"))
        self._phase = _HEAD

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
        if name in SINGLE and self._phase is _HEAD:
            if name in self._fields:
                raise HeadRefused(malformed(f"the header {name.decode()} comes twice"))
            self._fields[name] = value
        elif name in self.traffic.listed and self._phase is _HEAD:
            before = self._fields.get(name)
            self._fields[name] = value if before is None else joined(name, before, value)

    def on_headers_complete(self) -> None:
        """The header is complete: decide whether the body is wanted, before it comes."""
        parser = self._parser
        method = parser.get_method()
        version = parser.get_http_version()
        length = check_head(method, version, self._fields, limits=self._limits)
        exchange = self._begin(method, self._fields)
        exchange.keep_alive = version == "1.1" and parser.should_keep_alive()
        exchange.route, exchange.query = self.traffic.routes.find(self._target)
        exchange.decided = exchange.route.decide(method)
        self._phase = _BODY
        self._timed = None
        if length:
            self._expect_body(exchange, length)
        elif exchange.decided is None:
            self.traffic.admit(exchange, 0)

    def _expect_body(self, exchange: Exchange, length: int) -> None:
        if self._parser.should_upgrade():
            if length < 0:
                raise HeadRefused(malformed("send no Upgrade header together with Transfer-Encoding"))
            self._upgrade_left = length
        if exchange.decided is None:
            self.traffic.admit(exchange, length)
        if b"expect" in self._fields:
            if exchange.decided is not None:
                raise HeadRefused(exchange.decided.closing())
            if not self._pending:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if exchange.decided is not None and not exchange.keep_alive:
            raise HeadRefused(exchange.decided.closing())

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._body_bytes // MIN_CHUNK_BYTES:
            raise HeadRefused(malformed("send the body in fewer chunks"))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(data)
        exchange = self._current
        assert exchange is not None
        if self._body_bytes > self._limits.max_body_bytes:
            raise HeadRefused(body_too_large(self._limits))
        if exchange.decided is None:
            if self._chunks and not self.traffic.hold(exchange, len(data)):
                raise HeadRefused(overloaded("too many bytes in hand").closing())
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is complete: hand it on."""
        if self._upgrade_left:
            return
        exchange = self._current
        assert exchange is not None
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._piece is not None:
            self._learn(self._piece, exchange, len(body))
            self._piece = None
        self._reset_message()
        self._phase = _IDLE
        self._timed = None
        self._raw = -self._fed
        self._complete(exchange, body)

    def _complete(self, exchange: Exchange, body: bytes) -> None:
        self._current = None
        exchange.body = body
        self._pending.append(exchange)
        if len(self._pending) >= self._limits.max_pipelined:
            self._set_reading()
        if exchange.decided is not None:
            exchange.reply(exchange.decided)
        else:
            self._handle(exchange)

    def _handle(self, exchange: Exchange) -> None:
        try:
            exchange.route.handle(exchange)
        except Exception:
            log.exception("cannot handle a request to %s", exchange.route.path)
            exchange.reply(refusal(500, "internal_error", "this is a defect; the log of the gateway tells more"))

    # -- requests that offer an upgrade ------------------------------------------------------------------------------
    # A server may ignore an offer (RFC 9110, 7.8), but llhttp stops after such a header and leaves the body to us.

    def _go_on_after_upgrade(self, rest: bytes) -> None:
        if self._upgrade_left and rest:
            rest = self._take_upgrade_body(rest)
        if rest and self._phase is not _LINGER:
            self._feed(rest)

    def _take_upgrade_body(self, data: bytes) -> bytes:
        """Take the body, or a part of it, from the front of the data; return what is left."""
        piece = data[: self._upgrade_left]
        self.on_body(piece)
        self._upgrade_left -= len(piece)
        if not self._upgrade_left:
            self.on_message_complete()
        return data[len(piece) :]

    # -- answers ----------------------------------------------------------------------------------------------------

    def _begin(self, method: bytes, fields: dict[bytes, bytes]) -> Exchange:
        self.traffic.in_hand += 1
        exchange = self._current = Exchange(self, method, fields)
        return exchange

    def _refuse(self, answer: Answer) -> None:
        """Answer the request that is being read, drop whatever else comes, and close."""
        exchange = self._current or self._begin(b"", self._fields)
        self._current = None
        self._body = []
        self._phase = _LINGER
        self._deadline = float("inf")
        exchange.keep_alive = False
        exchange.linger = True
        self._pending.append(exchange)
        exchange.reply(answer)

    def flush(self) -> None:
        """Send the answers whose turn has come."""
        pending = self._pending
        while pending and (wire := pending[0].wire) is not None:
            exchange = pending.popleft()
            self._write(wire)
            if not exchange.keep_alive:
                self._finish(exchange)
                return
        if self._paused:
            self._set_reading()
        if self._timed is None and self._phase is _IDLE:
            self._deadline = self.traffic.clock() + self._limits.keep_alive_s
            if self.traffic.draining:
                self.close_if_idle()

    def is_last(self, exchange: Exchange) -> bool:
        """Whether this is the last request that has been read."""
        return self._phase is not _HEAD and self._phase is not _BODY and self._pending[-1] is exchange

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _finish(self, exchange: Exchange) -> None:
        """The last answer is sent: close, at once or when the client has had time to read it."""
        transport = self._transport
        self._phase = _LINGER
        self._pending.clear()
        self._deadline = self.traffic.clock() + self._limits.linger_s
        if transport is None or transport.is_closing():
            return
        if exchange.linger and not self._ended:
            transport.write_eof()
            self._set_reading()
        else:
            transport.close()

    def _set_reading(self) -> None:
        """Read from the client unless it owes us something: it must read its answers and wait for them."""
        transport = self._transport
        wanted = self._writable and len(self._pending) < self._limits.max_pipelined
        if transport is None or transport.is_closing() or wanted is not self._paused:
            return
        self._paused = not wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # -- slow clients -----------------------------------------------------------------------------------------------

    def _watch_slow(self) -> None:
        """A request is incomplete after a read: see that it gets on."""
        phase = self._phase
        if self._timed is not phase:
            if phase is _LINGER:
                return
            self._timed = phase
            self._since = now = self.traffic.clock()
            limits = self._limits
            self._deadline = now + (limits.head_timeout_s if phase is _HEAD else limits.body_timeout_s)
            self._timed_body_bytes = self._body_bytes
            self._raw = self._raw + self._fed if phase is _HEAD else 0
        else:
            self._raw += self._fed
        if phase is _HEAD:
            if self._raw > self._limits.max_head_bytes:
                self._refuse(head_too_large(self._limits))
        elif self._overhead() > MAX_CHUNK_OVERHEAD_BYTES + self._body_bytes // 8:
            self._refuse(malformed("send the body in larger chunks, without extensions and trailers"))

    def _overhead(self) -> int:
        return self._raw - (self._body_bytes - self._timed_body_bytes)

    def check(self, now: float) -> None:
        """Called by the common timer: end the connection if its client is too slow."""
        if not self._writable and now > self._since + self._limits.write_timeout_s:
            self.abort()
        elif now > self._deadline:
            self._too_slow(now)
        elif self._phase is _BODY and self._timed is _BODY:
            elapsed = now - self._since
            if (
                elapsed > self._limits.body_grace_s
                and max(self._raw, self._body_bytes) < self._limits.min_body_rate * elapsed
            ):
                self._refuse(refusal(408, "too_slow", "the body arrives too slowly", close=True))

    def _too_slow(self, now: float) -> None:
        phase = self._phase
        if phase is _HEAD:
            self._refuse(refusal(408, "timeout", "the request header did not arrive in time", close=True))
        elif phase is _BODY:
            self._refuse(refusal(408, "timeout", "the request body did not arrive in time", close=True))
        elif not self._pending and self._transport is not None:
            if self._transport.is_closing():
                self._transport.abort()
            else:
                self._deadline = now + self._limits.linger_s
                self._transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self._phase is _IDLE and not self._pending and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()
