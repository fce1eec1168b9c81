"""A receiver: a program that takes events over HTTP for some destinations and writes down every one of them.

    python -m tests.faults.receiver JOURNAL

It prints its port. The path of a request is the destination's id. Orders come as lines of JSON on stdin, each answered
by one line on stdout; they say how a destination behaves from now on:

    {"to": "crm", "mode": "ok"}                              takes everything
    {"to": "crm", "mode": "slow", "delay_s": 0.2}            takes everything, later
    {"to": "crm", "mode": "status", "status": 503, "headers": {"Retry-After": "1"}}     takes nothing
    {"to": "crm", "mode": "reset"}                           reads the request, then resets the connection
    {"to": "crm", "mode": "lie"}                             answers 200 with a body that tells of an error
    {"to": "*", "mode": "down"}                              listens no more (all destinations); "up" listens again

The journal has a line for each request: when it was answered, the key, the outcome ("taken" is written before the
answer goes out), and of each event its id, the fingerprint of its bytes, and what the gateway has added to it.
"""

from __future__ import annotations

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

from tests.faults.events import fingerprint, split_additions

OK = {"mode": "ok"}


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

    def of(self, destination: str) -> dict[str, Any]:
        """How this destination behaves now."""
        return self.behaviour.get(destination, OK)

    def note(self, destination: str, outcome: str, key: str, body: bytes) -> None:
        """Write down a request."""
        events = [describe(bytes(raw)) for raw in msgspec.json.decode(body, type=_Body).batch]
        with self._lock:  # the time too: the lines are in the order in which events were taken
            entry = {"t": time.time(), "to": destination, "outcome": outcome, "key": key, "events": events}
            self._file.write(json.dumps(entry).encode() + b"\n")


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
                    # Some vendors say back what they were shown; it must get nowhere.
                    shown = f"no to {self.headers['Authorization']}".encode()
                    self._answer(behaviour["status"], behaviour.get("headers", {}), shown)
                case "reset":
                    receiver.note(destination, "reset", key, body)
                    self._reset()
                case "lie":
                    receiver.note(destination, "lied", key, body)
                    self._answer(200, {}, b'{"success":false,"error":"rejected"}')
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
