"""A receiver: a program that takes events over HTTP for some destinations and writes down every one of them.

    python -m tests.faults.receiver JOURNAL

It prints its port. The path of a request is the destination's id. Orders come as lines of JSON on stdin, each answered
by one line on stdout; they say how a destination behaves from now on:

    {"to": "crm", "mode": "ok"}                              takes everything
    {"to": "crm", "mode": "slow", "delay_s": 0.2}            takes everything, later
    {"to": "crm", "mode": "status", "status": 503, "headers": {"Retry-After": "1"}}     takes nothing
    {"to": "crm", "mode": "reset"}                           reads the request, then resets the connection
    {"to": "crm", "mode": "particular"}                      answers 422 to what has one of the events it does not like
    {"to": "crm", "mode": "lie", "delay_s": 1.5}             answers by `LIES`, one after the other
    {"to": "*", "mode": "down"}                              listens no more (all destinations); "up" listens again

The journal has a line for each request: when it was answered, the key, the outcome ("taken" is written before the
answer goes out), and of each event its id, the fingerprint of its bytes, and what the gateway has added to it.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.events import fingerprint, is_bad, split_additions

OK = {"mode": "ok"}
LIES = ("late", "", "error", "", "endless", "cut", "", "error", "garbage", "")
"""What a liar does with one request after the other; some calls fail, but too few to open a circuit breaker:

    error     200 with a body that tells of an error; it takes nothing
    endless   takes it, and answers with more than anybody should read
    late      takes it, and answers after a while
    cut       takes it, and breaks off in the middle of its answer
    garbage   takes it, and answers what is not HTTP
"""


class _Body(msgspec.Struct):
    batch: list[msgspec.Raw]


class _Named(msgspec.Struct):
    messageId: str


class Receiver:
    """The behaviour of each destination, and the journal."""

    def __init__(self, journal: Path) -> None:
        self.behaviour: dict[str, dict[str, Any]] = {}
        self._file = journal.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._lies = itertools.cycle(LIES)

    def next_lie(self) -> str:
        """What to do with the next request of a destination that is lied to."""
        with self._lock:
            return next(self._lies)

    def of(self, destination: str) -> dict[str, Any]:
        """How this destination behaves now."""
        return self.behaviour.get(destination, OK)

    def note(self, destination: str, outcome: str, key: str, body: bytes, **more: str) -> None:
        """Write down a request."""
        events = [describe(raw) for raw in events_in(body)]
        with self._lock:  # the time too: the lines are in the order in which events were taken
            entry = {"t": time.time(), "to": destination, "outcome": outcome, "key": key, "events": events, **more}
            self._file.write(json.dumps(entry).encode() + b"\n")


def events_in(body: bytes) -> list[bytes]:
    """The events of a request."""
    return [bytes(raw) for raw in msgspec.json.decode(body, type=_Body).batch]


def describe(stored: bytes) -> tuple[str, str, str]:
    """Id, fingerprint and additions of an event as it was received."""
    additions, sent = split_additions(stored)
    return msgspec.json.decode(sent, type=_Named).messageId, fingerprint(sent), additions.decode()


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed are what the tests are about."""


def handler_for(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    """The handler class of a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            destination = self.path.strip("/")
            key = self.headers.get("Idempotency-Key", "")
            behaviour = receiver.of(destination)
            match behaviour["mode"]:
                case "status":
                    receiver.note(destination, "refused", key, body)
                    self._refuse(behaviour["status"], behaviour.get("headers", {}))
                case "particular" if any(is_bad(describe(raw)[0]) for raw in events_in(body)):
                    receiver.note(destination, "refused", key, body)
                    self._refuse(422, {})
                case "reset":
                    receiver.note(destination, "reset", key, body)
                    self._reset()
                case "lie":
                    lie = receiver.next_lie()
                    receiver.note(destination, "lied" if lie == "error" else "taken", key, body, lie=lie)
                    self._lie(lie, behaviour["delay_s"])
                case mode:
                    if mode == "slow":
                        time.sleep(behaviour["delay_s"])
                    receiver.note(destination, "taken", key, body)
                    self._answer(200, {})

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"{}") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _refuse(self, status: int, headers: dict[str, str]) -> None:
            # Some vendors say back what they were shown; it must get nowhere.
            self._answer(status, headers, f"no to {self.headers['Authorization']}".encode())

        def _lie(self, lie: str, delay_s: float) -> None:
            self.close_connection = lie in ("cut", "garbage")
            if lie == "late":
                time.sleep(delay_s)
            if lie == "garbage":
                self.wfile.write(b"perhaps\r\n\r\n")
            elif lie == "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            else:
                said = {"error": b'{"success":false,"error":"rejected"}', "endless": b"x" * 1_000_000}
                self._answer(200, {}, said.get(lie, b"{}"))

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def serve(receiver: Receiver, port: int = 0) -> Server:
    """Listen on a port of loopback, in a thread."""
    server = Server(("127.0.0.1", port), handler_for(receiver))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def main(journal: str) -> None:
    """Serve, and follow orders until stdin ends."""
    receiver = Receiver(Path(journal))
    server: Server | None = serve(receiver)
    port = server.server_address[1] if server else 0
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["mode"] == "down" and server is not None:
            server.shutdown()
            server.server_close()
            server = None
        elif order["mode"] == "up" and server is None:
            server = serve(receiver, int(port))
        elif order["mode"] not in ("down", "up"):
            receiver.behaviour[order.pop("to")] = order
        print(json.dumps({"port": port}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
