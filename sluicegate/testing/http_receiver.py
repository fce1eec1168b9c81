"""An HTTP receiver on loopback that answers as it is told and remembers every request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


@dataclass(frozen=True, slots=True)
class Request:
    """What came: path, headers by lower-case name, body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def message_ids(self) -> list[str]:
        """The ids of a Segment batch."""
        return [event["messageId"] for event in msgspec.json.decode(self.body)["batch"]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"


Answer = Callable[[Request], Reply]


class HttpReceiver:
    """Listens from its making to `close()`; set `answer` to script it."""

    def __init__(self, answer: Answer = lambda request: Reply(), *, port: int = 0) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        """The requests that were answered 2xx."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def message_ids(self) -> list[str]:
        """The ids of all events that were taken, repetitions included."""
        return [id_ for request in self.taken for id_ in request.message_ids()]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                receiver.requests.append(request)
                reply = receiver.answer(request)
                if 200 <= reply.status < 300:
                    receiver.taken.append(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_PUT = do_PATCH = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
