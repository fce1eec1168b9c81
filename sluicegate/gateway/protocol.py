"""HTTP/1.1 on one connection: bytes in, `Exchange`s to the handlers, answers out in order.

It is our own because a general server costs three times as much per request and has none of the limits that a server
on the open internet needs. Everything here is about order; `reading` parses the bytes.

Slow clients are found by one timer for all connections (`Traffic.tick`), which looks at the deadline that each
connection keeps (`watch`); a request that arrives in one piece sets none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from sluicegate.gateway.answer import Answer, unavailable
from sluicegate.gateway.exchange import Exchange, fail
from sluicegate.gateway.phase import Phase
from sluicegate.gateway.reading import Reader
from sluicegate.gateway.traffic import Traffic
from sluicegate.gateway.watch import Watch

_IDLE, _HEAD, _BODY, _LINGER = Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.LINGER


class Connection(asyncio.Protocol):
    """One client: what it asked for, and what it is still to be answered."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._limits = traffic.limits
        self._watch = Watch(traffic.limits)
        self._reader = Reader(self, self._watch)
        self._transport: asyncio.Transport | None = None
        self._pending: deque[Exchange] = deque()
        self._stuck: tuple[Exchange | None, float, int] = (None, 0.0, 0)
        """Whose turn it is as far as the timer has seen, since when, and how many requests were there by then."""
        self._invites = False
        """Whether the body that is being read waits to be asked for until earlier answers are sent."""
        self._paused = False
        self._writable = True
        self._ended = False

    # -- the transport's calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; with too many connections, say so and end."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._watch.deadline = self.traffic.clock() + self._limits.keep_alive_s
        if not self.traffic.opened(self):
            answer = unavailable("too_many_connections", "try again later", close=True)
            transport.write(answer.wire(date=self.traffic.date))
            transport.close()
            self._reader.phase = _LINGER

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it asked for and is being stored stays asked for, and in hand until then."""
        self._transport = None
        self._reader.phase = _LINGER
        if self._reader.current is not None:
            self.traffic.release(self._reader.current)
            self._reader.current = None
        self._leave()
        self.traffic.closed(self)

    def data_received(self, data: bytes) -> None:
        """Read what came, unless nobody is to hear it any more."""
        reader = self._reader
        phase = reader.phase
        if phase is _LINGER or (phase is _IDLE and reader.take_known(data)):
            return
        reader.read(data)
        if reader.phase is not _IDLE:
            self._watch_slow()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers."""
        self._ended = True
        if not self._pending:
            return False
        self._pending[-1].keep_alive = False
        self._reader.phase = _LINGER
        self._watch.deadline = float("inf")
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more requests from it."""
        self._writable = False
        self._watch.since = self.traffic.clock()
        self._set_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._set_reading()

    # -- requests ---------------------------------------------------------------------------------------------------

    def complete(self, exchange: Exchange, body: bytes) -> None:
        """A request is complete: hand it on."""
        self._reader.current = None
        self._invites = False
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
            fail(exchange)

    def invite_body(self) -> None:
        """Ask for a body that waits to be asked for, once no earlier answers are due."""
        self._invites = bool(self._pending)
        if not self._pending:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, answer: Answer) -> None:
        """Answer the request that is being read, drop whatever else comes, and close."""
        exchange = self._reader.abandon()
        self._watch.deadline = float("inf")
        exchange.keep_alive = False
        exchange.linger = True
        self._pending.append(exchange)
        exchange.reply(answer)

    # -- answers ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send the answers whose turn has come."""
        pending = self._pending
        while pending and (wire := pending[0].wire) is not None:
            exchange = pending.popleft()
            self._write(wire)
            if not exchange.keep_alive:
                self._finish(exchange)
                return
        if self._invites and not pending and self._reader.phase is _BODY:
            self._watch.begin_anew(_BODY, self.traffic.clock())
            self.invite_body()
        if self._paused:
            self._set_reading()
        if self._reader.phase is _IDLE:
            self._watch.deadline = self.traffic.clock() + self._limits.keep_alive_s
            if self.traffic.draining:
                self.close_if_idle()

    def is_last(self, exchange: Exchange) -> bool:
        """Whether this is the last request that has been read, of a client that is still there."""
        pending = self._pending
        return bool(pending) and pending[-1] is exchange and self._reader.phase not in (_HEAD, _BODY)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _finish(self, exchange: Exchange) -> None:
        """The last answer is sent: close, at once or when the client has had time to read it."""
        transport = self._transport
        self._reader.phase = _LINGER
        self._leave()
        self._watch.deadline = self.traffic.clock() + self._limits.linger_s
        if transport is None or transport.is_closing():
            return
        if exchange.linger and not self._ended:
            transport.write_eof()
            self._set_reading()
        else:
            transport.close()

    def _leave(self) -> None:
        """Send no more answers."""
        if self._pending:
            self.traffic.leave(self._pending)
            self._pending.clear()

    def _set_reading(self) -> None:
        """Read from the client unless it owes us something: it must read its answers and wait for them."""
        transport = self._transport
        wanted = self._writable and len(self._pending) < self._limits.max_pipelined
        if transport is None or transport.is_closing() or wanted is not self._paused:
            return
        self._paused = not wanted
        if wanted:
            self._watch.begin_anew(self._reader.phase, self.traffic.clock())
            transport.resume_reading()
        else:
            transport.pause_reading()

    # -- slow clients -----------------------------------------------------------------------------------------------

    def _watch_slow(self) -> None:
        """A request is incomplete after a read: see that it gets on."""
        reader = self._reader
        if reader.phase is not _LINGER:
            answer = self._watch.incomplete(reader.phase, reader.body_bytes, self.traffic.clock())
            if answer is not None:
                self.refuse(answer)

    def check(self, now: float) -> None:
        """Called by the common timer: end the connection if its client is too slow, or answer if its handler is."""
        self._check_answers(now)
        reader = self._reader
        if not self._writable and now > self._watch.since + self._limits.write_timeout_s:
            self.abort()
        elif (self._paused or self._invites) and reader.phase in (_HEAD, _BODY):
            return  # the client cannot get on while we do not read, or do not ask
        elif answer := self._watch.too_slow(reader.phase, reader.body_bytes, now):
            self.refuse(answer)
        elif now > self._watch.deadline and not self._pending and self._transport is not None:
            if self._transport.is_closing():
                self._transport.abort()
            else:
                self._watch.deadline = now + self._limits.linger_s
                self._transport.close()

    def _check_answers(self, now: float) -> None:
        pending = self._pending
        oldest, since, n_pending = self._stuck
        if not pending or pending[0] is not oldest:
            self._stuck = (pending[0] if pending else None), now, len(pending)
            return
        for exchange in list(pending)[:n_pending]:
            if exchange.wire is None:
                self.traffic.give_up(exchange, now - since)

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self._reader.phase is _IDLE and not self._pending and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()
