"""The kept-alive connections of one destination: each thread has its own to every origin."""

from __future__ import annotations

import threading

from sluicegate.destinations.http import Answer, HttpConnection, Origin
from sluicegate.errors import NotReady, Retry
from sluicegate.network import Network

MAX_PER_THREAD = 4
"""Origins that a thread stays connected to; a vendor has one or two."""


class Connections:
    """Exchanges requests for answers; any number of threads at a time."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._all: set[HttpConnection] = set()

    def test(self, origin: Origin) -> None:
        """Connect, TLS included, and send nothing; raises `NotReady`."""
        connection = HttpConnection(origin, network=self._network)
        try:
            connection.connect()
        except OSError as error:
            raise NotReady(f"{origin} cannot be reached: {_text(error)}") from error
        finally:
            connection.close()

    def exchange(self, origin: Origin, request: bytes, *, timeout_s: float) -> Answer:
        """Send a whole request and return the answer, within this time in all; raises `Retry`."""
        connection = self._connection(origin)
        try:
            return connection.exchange(request, timeout_s=timeout_s)
        except OSError as error:
            note = " (the request was sent, so its outcome is unknown)" if connection.sent else ""
            raise Retry(f"{origin}: {_text(error)}{note}", outcome_unknown=connection.sent) from error

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for connection in self._all:
                connection.close()

    def _connection(self, origin: Origin) -> HttpConnection:
        mine: dict[Origin, HttpConnection] | None = getattr(self._threads, "connections", None)
        if mine is None:
            mine = self._threads.connections = {}
        if origin not in mine:
            with self._lock:
                if len(mine) == MAX_PER_THREAD:
                    oldest = mine.pop(next(iter(mine)))
                    oldest.close()
                    self._all.discard(oldest)
                mine[origin] = HttpConnection(origin, network=self._network)
                self._all.add(mine[origin])
        return mine[origin]


def _text(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
