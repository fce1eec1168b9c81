"""Requests per second and CPU per request of the gateway alone, with a real SQLite log on disk.

    python benchmarks/gateway.py [--seconds 4] [--connections 8] [--no-dedup]

The gateway runs as a process of its own, as the launcher starts it; the load generator is this process. It keeps one
request in hand per connection. CPU is the gateway's user and system time, log writer included.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from sluicegate.config.model import Config, GatewayConfig, LogConfig, SupervisorConfig
from sluicegate.config.secret import Secret
from sluicegate.consent.ledger import Ledger
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.gateway.server import run
from sluicegate.paths import DataDir

CONSENT = {"categoryPreferences": {"measurement": True, "marketing": False, "functionality": True}}
HEAD = (
    b"POST %b HTTP/1.1\r\nHost: a\r\nAuthorization: Basic %b\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


def event(number: int) -> dict[str, object]:
    """About 520 bytes with 20 properties."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"bench-{number:012d}",
        "userId": f"user-{number % 1000}",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "context": {"consent": CONSENT},
        "properties": {f"p{i:02d}": i * 7 if i % 2 else "v" * 8 for i in range(20)},
    }


def requests(kind: str) -> list[bytes]:
    """A few requests to send in turn."""
    key = base64.b64encode(b"bench:")
    found = []
    for start in range(0, 6400, 100):
        body = event(start) if kind == "single" else {"batch": [event(start + i) for i in range(100)]}
        data = json.dumps(body, separators=(",", ":")).encode()
        path = b"/v1/track" if kind == "single" else b"/v1/batch"
        found.append(HEAD % (path, key, len(data)) + data)
    return found


class Sender(asyncio.Protocol):
    """Sends the next request when the last one is answered."""

    def __init__(self, wire: list[bytes], latencies: list[float], number: int) -> None:
        self._wire = wire
        self._latencies = latencies
        self._number = number
        self._n_sent = 0
        self._sent_at = 0.0
        self.wrong = 0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._n_sent += 1  # ids that no other request has, of the same length
        ids = b'"messageId":"%02x%03x-' % (self._number, self._n_sent // len(self._wire))
        self._transport.write(self._wire[self._n_sent % len(self._wire)].replace(b'"messageId":"bench-', ids))

    def data_received(self, data: bytes) -> None:
        self._latencies.append(time.perf_counter() - self._sent_at)
        if not data.startswith(b"HTTP/1.1 200"):
            self.wrong += 1
        if not self.stopped:
            self._send()


@dataclass
class Result:
    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    wrong: int


async def drive(address: tuple[str, int], kind: str, *, seconds: float, connections: int, pid: int) -> Result:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    wire = requests(kind)
    senders = [Sender(wire, latencies, number) for number in range(connections)]
    for sender in senders:
        await loop.create_connection(lambda s=sender: s, *address)  # type: ignore[misc]
    await asyncio.sleep(0.5)
    latencies.clear()
    cpu, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    cpu, took = cpu_seconds(pid) - cpu, time.perf_counter() - began
    count, ordered = len(latencies), sorted(latencies)
    for sender in senders:
        sender.stopped = True
    await asyncio.sleep(0.1)
    return Result(
        count / took,
        cpu / count * 1e6,
        ordered[count // 2] * 1e3,
        ordered[count * 99 // 100] * 1e3,
        sum(sender.wrong for sender in senders),
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(folder: Path, log: LogConfig) -> tuple[int, tuple[str, int], socket.socket]:
    data_dir = DataDir(folder)
    data_dir.create()
    SqliteLog(data_dir.event_log).close()
    Ledger(data_dir.consent, data_dir.consent_key).close()
    gateway = GatewayConfig(port=0, write_keys={"bench": Secret("bench")})
    config = Config(data_dir=folder, gateway=gateway, supervisor=SupervisorConfig(), destinations={}, log=log)
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            code = run(config, listen_socket=listener, control_fd=theirs.fileno())
        finally:
            os._exit(code)
    theirs.close()
    ours.recv(1000)
    return pid, listener.getsockname(), ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kinds", nargs="*", default=["single", "batch"])
    parser.add_argument("--no-dedup", action="store_true", help="store every event")
    options = parser.parse_args()
    log = LogConfig(dedup_window_s=0) if options.no_dedup else LogConfig()
    for kind in options.kinds:
        folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        pid, address, control = start(folder, log)
        try:
            drive_it = drive(address, kind, seconds=options.seconds, connections=options.connections, pid=pid)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(drive_it)
        finally:
            control.close()  # the gateway ends with its launcher
            os.waitpid(pid, 0)
            shutil.rmtree(folder)
        events = 100 if kind == "batch" else 1
        print(
            f"{kind:6}  {found.rate:8.0f} requests/s  {found.rate * events:8.0f} events/s"
            f"  {found.cpu_us:6.1f} us CPU/request ({found.cpu_us / events:5.2f}/event)"
            f"  p50 {found.p50_ms:.2f} ms  p99 {found.p99_ms:.2f} ms  not 200: {found.wrong}"
        )


if __name__ == "__main__":
    main()
