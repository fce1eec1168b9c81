"""One request and the way to answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.gateway.answer import Answer
from sluicegate.gateway.routes import UNKNOWN, Route

if TYPE_CHECKING:
    from sluicegate.gateway.heads import Head
    from sluicegate.gateway.protocol import Connection


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
            self.connection.traffic.answered(self, answer)
            self.connection.flush()
