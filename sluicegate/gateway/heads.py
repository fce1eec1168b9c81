"""Request heads that were read before: clients that keep a connection send the same one again and again.

A request that arrives in one piece with a known head needs no parser: equal bytes mean the same request. What is known
was read by the parser and passed every check, and only heads that leave nothing open are learnt: POST with a
`Content-Length`, to a path that takes events, on a connection that goes on. Reading the head is a third of the work
of a request with a single event.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.gateway.routes import Route

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 1_024
"""Longer heads are read each time."""
MAX_HEADS = 2_048
"""With the bound above, hostile clients can fill about 6 MB."""


@dataclass(slots=True, eq=False)
class Head:
    """What the parser made of a head."""

    method: bytes
    fields: dict[bytes, bytes]
    """Shared by all requests with this head; not to be changed."""
    route: Route
    query: bytes
    length: int
    """Of the body."""
    source: str | None = None
    """Whose write key it has, once that was looked up; empty when requests with it need a closer look."""
    source_of_key: str | None = None
    """The same whatever else it has, for requests that are looked at closely."""


class Heads:
    """The known heads of all connections, by their bytes with the empty line."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get

    def learn(self, head: bytes, meaning: Head) -> None:
        """Remember what these bytes mean; `body` bytes must have followed them at once, in the same piece."""
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[head] = meaning
