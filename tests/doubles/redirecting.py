"""An HTTP server that redirects every request to another one, which counts what reaches it."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.doubles.listener import Listener


class Redirecting:
    """Listens until it is closed; answers everything with this status."""

    def __init__(self, status: int = 307) -> None:
        self.status = status
        self.n_requests = 0
        self._elsewhere = Listener(_hang_up)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def n_arrived(self) -> int:
        """Connections to where the redirects point."""
        return self._elsewhere.n_connections

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._elsewhere.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _redirect(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                owner.n_requests += 1
                self.send_response(owner.status)
                self.send_header("Location", f"http://127.0.0.1:{owner._elsewhere.port}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _redirect

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _hang_up(connection: socket.socket, number: int) -> None:
    connection.close()
