"""A TCP server without any protocol."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class Listener:
    """Gives every connection and its number, from 0, to `serve`, in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket, int], None], *, host: str = "127.0.0.1") -> None:
        self._serve = serve
        self._server = socket.create_server((host, 0))
        self.port: int = self._server.getsockname()[1]
        self.n_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            number = self.n_connections
            self.n_connections += 1
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()
