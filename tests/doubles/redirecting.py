"""An HTTP server that redirects every request to another one, which counts what reaches it."""

from __future__ import annotations

import socket

from sluicegate.testing.http_receiver import HttpReceiver, Reply, Request
from tests.doubles.listener import Listener


class Redirecting:
    """Listens until it is closed; answers everything with this status."""

    def __init__(self, status: int = 307) -> None:
        self.status = status
        self._elsewhere = Listener(_hang_up)
        self._receiver = HttpReceiver(self._redirect)
        self.url = self._receiver.url.removesuffix("/hook")

    @property
    def n_requests(self) -> int:
        """Requests that were answered with a redirect."""
        return len(self._receiver.requests)

    @property
    def n_arrived(self) -> int:
        """Connections to where the redirects point."""
        return self._elsewhere.n_connections

    def close(self) -> None:
        self._receiver.close()
        self._elsewhere.close()

    def _redirect(self, request: Request) -> Reply:
        return Reply(self.status, {"Location": f"http://127.0.0.1:{self._elsewhere.port}{request.path}"}, b"")


def _hang_up(connection: socket.socket, number: int) -> None:
    connection.close()
