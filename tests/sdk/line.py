"""The line between an SDK and the gateway: it forwards everything, and spoils the first request with events."""

from __future__ import annotations

import http.client
import json
import threading
import zlib
from collections.abc import Callable
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sluicegate.gateway.answer import Answer, refusal
from sluicegate.gateway.cors import Cors

PATIENCE_S = 30.0
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
_FAILED = refusal(500, "internal_error", "as if the gateway had a defect")
_OVERLOADED = refusal(429, "overloaded", "as if too much came at once", retry_after_s=1)


class Fault(Enum):
    """What happens to the first request with events."""

    NONE = "none"
    STORED_500 = "stored, and answered with 500"
    REFUSED_429 = "refused with 429 and Retry-After"
    STORED_RESTART = "stored, and the gateway dies before it answers"


class Line:
    """A proxy on a port of its own. `address` is the gateway's at the moment, `restart` starts it anew."""

    def __init__(self, address: Callable[[], tuple[str, int]], restart: Callable[[], None]) -> None:
        self.address = address
        self.restart = restart
        self.fault = Fault.NONE
        self.statuses: list[int] = []
        """Of the requests with events, as the SDK saw them; 0 for a connection that was cut."""
        self.messages: dict[str, int] = {}
        """How often each message came, by its id."""
        self.paths: set[str] = set()
        """Where requests with events went."""
        self.done: set[str] = set()
        """The messages that were answered with 200."""
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"line": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """What the SDK is told."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take_fault(self) -> Fault:
        """The fault, once."""
        with self._changed:
            fault, self.fault = self.fault, Fault.NONE
            return fault

    def note(self, status: int, body: bytes) -> None:
        """A request with events was answered."""
        with self._changed:
            self.statuses.append(status)
            for event in events_in(body):
                self.messages[event["messageId"]] = self.messages.get(event["messageId"], 0) + 1
                if status == 200:
                    self.done.add(event["messageId"])
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait until requests have made this true."""
        with self._changed:
            return self._changed.wait_for(condition, PATIENCE_S)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


def events_in(body: bytes) -> list[dict[str, Any]]:
    """The events of a request."""
    if body.startswith(b"\x1f\x8b"):
        body = zlib.decompress(body, 31)
    read = json.loads(body)
    events: list[dict[str, Any]] = read.get("batch", [read])
    return events


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line

    def do_GET(self) -> None:
        self._try_to_pass_on(self._body())

    do_OPTIONS = do_GET

    def do_POST(self) -> None:
        body = self._body()
        if self.path.startswith("/v1/m"):
            self._try_to_pass_on(body)
            return
        self.line.paths.add(self.path.partition("?")[0])
        fault = self.line.take_fault()
        if fault is Fault.REFUSED_429:
            self.line.note(429, body)
            self._say(_OVERLOADED)
        elif fault is Fault.STORED_500:
            assert self._ask(body)[0] == 200
            self.line.note(500, body)
            self._say(_FAILED)
        elif fault is Fault.STORED_RESTART:
            assert self._ask(body)[0] == 200
            self.line.restart()
            self.line.note(0, body)
            self.close_connection = True
        else:
            self.line.note(self._try_to_pass_on(body), body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.line.address(), timeout=PATIENCE_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _try_to_pass_on(self, body: bytes) -> int:
        """The gateway's status; 0 when there is no gateway, and the client's connection is cut too."""
        try:
            return self._pass_on(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return 0

    def _pass_on(self, body: bytes) -> int:
        status, headers, answer = self._ask(body)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        return status

    def _say(self, answer: Answer) -> None:
        origin = self.headers.get("Origin")
        extra = Cors(("*",)).lines(origin.encode()) if origin else b""
        self.wfile.write(answer.wire(date=b"Mon, 23 Nov 2026 22:00:00 GMT", extra=extra))

    def log_message(self, *args: object) -> None:
        pass
