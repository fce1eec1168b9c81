"""One request and the way to answer it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from sluicegate.gateway.answer import DEFECT, Answer
from sluicegate.gateway.routes import UNKNOWN, Route

if TYPE_CHECKING:
    from sluicegate.gateway.heads import Head
    from sluicegate.gateway.protocol import Connection

log = logging.getLogger(__name__)


class Answered(Protocol):
    """Who waits for an answer: an `Exchange`, or whoever goes on when an event is stored."""

    def reply(self, answer: Answer) -> None:
        """Take the answer."""
        ...


class Exchange:
    """A request whose header is complete; answered once, by `reply`, now or later.

    Answers leave in the order of the requests, whatever the order of the replies.
    """

    __slots__ = (
        "body",
        "connection",
        "decided",
        "head",
        "headers",
        "held_bytes",
        "keep_alive",
        "linger",
        "method",
        "query",
        "route",
        "wire",
    )

    def __init__(self, connection: Connection, method: bytes, headers: dict[bytes, bytes]) -> None:
        self.connection = connection
        self.method = method
        self.headers = headers
        """The header fields of `fields.SINGLE` and `Traffic.listed`, by name in lower case."""
        self.head: Head | None = None
        """What is known of the head, when it was read before."""
        self.route: Route = UNKNOWN
        self.query = b""
        self.body = b""
        self.held_bytes = 0
        """What this request counts for among the bodies in memory."""
        self.keep_alive = False
        self.linger = False
        """The client may still be sending what nobody will read."""
        self.decided: Answer | None = None
        """The answer, when it was clear before the body came; the body is then dropped."""
        self.wire: bytes | None = None
        """The answer as sent."""

    def reply(self, answer: Answer) -> None:
        """Answer the request; a second answer is ignored, and so is one to a client that has gone."""
        if self.wire is None:
            traffic = self.connection.traffic
            traffic.answered(self, answer)
            traffic.release(self)  # for a request that was handed on here and nowhere else, once there is an answer
            self.connection.flush()

    def cut(self) -> None:
        """End the connection of a request that cannot be answered."""
        if self.wire is None:
            self.wire = b""
            self.connection.traffic.release(self)
        self.connection.abort()


def reply_all(exchanges: Iterable[Answered], answer: Answer) -> None:
    """Give several the same answer; one that cannot take it keeps it from nobody else."""
    for exchange in exchanges:
        try:
            exchange.reply(answer)
        except Exception:
            fail(exchange)


def fail(exchange: Answered) -> None:
    """Answer with 500, where an error is handled: whoever waits must hear of it, and nobody else need."""
    log.exception("cannot handle a request to %s", exchange.route.path if isinstance(exchange, Exchange) else "-")
    try:
        exchange.reply(DEFECT)
    except Exception:  # or those that are to be answered after it would not be
        log.exception("cannot answer a request")
        if isinstance(exchange, Exchange):
            exchange.cut()
