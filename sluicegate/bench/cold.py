"""From the first event to the first delivery of a destination that is not loaded."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from sluicegate.bench.errors import BenchError
from sluicegate.bench.events import Workload, post

TIMEOUT_S = 30.0
STEP_S = 0.0005
"""How often the file is looked at, which bounds what can be told apart."""


class Probe:
    """One event for a system, over a connection that is open before the clock starts."""

    def __init__(self, port: int, run: str) -> None:
        workload = Workload(run, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        self._message_id = workload.message_id(0).encode()
        self._request = post("/v1/track", workload.event(0), host=f"127.0.0.1:{port}")
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)

    def first_delivery_ms(self, target: Path) -> float:
        """Send the event; milliseconds until its line is in the file."""
        with self._socket:
            start = time.monotonic()
            self._socket.sendall(self._request)
            while not self._delivered(target):
                if time.monotonic() - start > TIMEOUT_S:
                    raise BenchError(f"no event arrived in {target} within {TIMEOUT_S:.0f} s: {self._answer()}")
                time.sleep(STEP_S)
            return (time.monotonic() - start) * 1000

    def _delivered(self, target: Path) -> bool:
        try:
            content = target.read_bytes()
        except FileNotFoundError:
            return False
        return self._message_id in content and content.endswith(b"\n")

    def _answer(self) -> str:
        self._socket.settimeout(0.1)
        try:
            return self._socket.recv(4096).decode(errors="replace")
        except TimeoutError:
            return "no answer to the request either"
