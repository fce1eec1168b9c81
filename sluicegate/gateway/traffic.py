"""What all connections share: the numbers that bound them, and the one timer that ends slow ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING

from sluicegate.gateway.answer import Answer, refusal, unavailable
from sluicegate.gateway.cors import Cors
from sluicegate.gateway.exchange import Exchange, reply_all
from sluicegate.gateway.heads import Heads
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.routes import Routes
from sluicegate.metrics import GatewayMetrics

if TYPE_CHECKING:
    from sluicegate.gateway.protocol import Connection

log = logging.getLogger(__name__)

INLINE_BODY_BYTES = 64 * 1024
"""A refused body up to this size is read and dropped, so that the connection can go on."""


class Traffic:
    """Counts requests and bytes in hand, and knows every connection. `now` is the loop's time."""

    def __init__(
        self,
        routes: Routes,
        *,
        limits: Limits,
        cors: Cors,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        listed: frozenset[bytes] = frozenset(),
    ) -> None:
        self.listed = listed
        """Header fields, in lower case, that are read besides `fields.SINGLE`, and may come several times."""
        self.routes = routes
        self.limits = limits
        self.cors = cors
        self.metrics = metrics
        self.clock = clock
        self.heads = Heads()
        self.connections: set[Connection] = set()
        self.in_hand = 0
        self.buffered_bytes = 0
        self.draining = False
        self.date = b""
        self._wires: dict[Answer, bytes] = {}
        """Shared answers as they are sent this second to a POST that asks for nothing special."""
        self._on_idle: Callable[[], None] | None = None
        self._left: list[tuple[float, Exchange]] = []
        """Requests that wait for an answer nobody will hear, and since when."""
        self.tick(0.0)

    def tick(self, now: float) -> None:
        """End the connections that are too slow; to be called about once a second, or oftener for short limits."""
        self.date = formatdate(usegmt=True).encode()
        self._wires.clear()
        for connection in list(self.connections):
            connection.check(now)
        left, self._left = self._left, []
        for since, exchange in left:
            if exchange.wire is None and not self.give_up(exchange, now - since):
                self._left.append((since, exchange))

    # -- connections ------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> bool:
        """Note a new connection; false if there are too many."""
        if len(self.connections) >= self.limits.max_connections or self.draining:
            self.metrics.refused_connections += 1
            return False
        self.connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self._on_idle is not None and not self.connections:
            self._on_idle()

    def drain(self, on_idle: Callable[[], None]) -> None:
        """Let the requests in hand end, and close every connection that has none; then call `on_idle`."""
        self.draining = True
        self._on_idle = on_idle
        for connection in list(self.connections):
            connection.close_if_idle()
        if not self.connections:
            on_idle()

    def abort(self) -> None:
        """Cut what is left."""
        for connection in list(self.connections):
            connection.abort()

    # -- requests ---------------------------------------------------------------------------------------------------

    def admit(self, exchange: Exchange, n_bytes: int) -> None:
        """Decide whether a request's body of this many bytes will be read; refuses it with 429 if that is too much.

        None of them counts before it is there, or a few clients that send nothing could have all the room.
        """
        limits = self.limits
        if self.in_hand > limits.max_requests and not exchange.route.at_once:
            exchange.decided = overloaded("too many requests at once")
        elif not self._has_room(n_bytes):
            exchange.decided = overloaded("too many bytes in hand")
        if exchange.decided is not None and not 0 <= n_bytes <= INLINE_BODY_BYTES:
            exchange.keep_alive = False

    def hold(self, exchange: Exchange, n_bytes: int) -> bool:
        """Count more bytes for this request's body; false if there is no room for them."""
        if not self._has_room(n_bytes):
            return False
        n_more = max(0, n_bytes)
        self.buffered_bytes += n_more
        exchange.held_bytes += n_more
        return True

    def admit_whole(self, exchange: Exchange, n_bytes: int) -> None:
        """`admit` and `hold` for a body that is there already: both in one step when there is room for it."""
        limits = self.limits
        buffered_bytes = self.buffered_bytes + n_bytes
        if self.in_hand <= limits.max_requests and buffered_bytes <= limits.max_buffered_bytes:
            self.buffered_bytes = buffered_bytes
            exchange.held_bytes = n_bytes
            return
        self.admit(exchange, n_bytes)
        if exchange.decided is None:
            self.hold(exchange, n_bytes)

    def _has_room(self, n_bytes: int) -> bool:
        return n_bytes <= 0 or self.buffered_bytes + n_bytes <= self.limits.max_buffered_bytes

    def leave(self, exchanges: Iterable[Exchange]) -> None:
        """The client of these has gone: they count until they are answered, for that long they take memory."""
        now = self.clock()
        self._left += [(now, exchange) for exchange in exchanges if exchange.wire is None]

    def give_up(self, exchange: Exchange, waited_s: float) -> bool:
        """Answer a request for its handler if it has waited for too long, which is a defect of that; false if not."""
        if waited_s <= self.limits.answer_timeout_s:
            return False
        log.error("a request to %s was not answered in %.0f s", exchange.route.path, waited_s)
        answer = unavailable("timed_out", "this took too long, and may have been done or not; send it again")
        reply_all([exchange], answer)
        return True

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        """Note the answer to a request, and put it in the form in which it is sent."""
        self.metrics.count_request(exchange.route.path, answer.status)
        headers = exchange.headers
        origin = headers.get(b"origin")
        if answer.shared and origin is None and exchange.keep_alive and not self.draining:
            exchange.wire = self._wires.get(answer) or self._shared_wire(answer)
            return
        if exchange.method == b"OPTIONS":
            extra = self.cors.preflight_lines(origin, headers.get(b"access-control-request-headers"))
        else:
            extra = self.cors.lines(origin) if origin is not None else b""
        if answer.close or (self.draining and exchange.connection.is_last(exchange)):
            exchange.keep_alive = False
        exchange.wire = answer.wire(
            date=self.date, extra=extra, keep_alive=exchange.keep_alive, head_only=exchange.method == b"HEAD"
        )

    def _shared_wire(self, answer: Answer) -> bytes:
        wire = self._wires[answer] = answer.wire(date=self.date)
        return wire

    def release(self, exchange: Exchange) -> None:
        """A request is no longer in hand; `in_hand` counted it since its header was complete."""
        self.in_hand -= 1
        self.buffered_bytes -= exchange.held_bytes
        exchange.held_bytes = 0


def overloaded(what: str) -> Answer:
    """429: the Segment SDKs wait as long as `Retry-After` says after 429, and ignore it after 503."""
    wait = unavailable("", "").headers[0][1]
    return refusal(429, "overloaded", f"{what}; send again later", retry_after_s=int(wait))
