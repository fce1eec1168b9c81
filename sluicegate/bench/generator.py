"""The load generator: a process that sends prepared requests over a few kept-alive connections.

It reads one line, a `LoadPlan` as JSON, renders all requests, writes `{"ready": true}`, waits for a second line, sends,
and writes its `LoadReport`. The *closed* loop (`rate` 0) has one unanswered request per connection and measures what
the system can take. The *open* loop sends `rate` events a second whether the system keeps up or not, and stamps each
event with the time at which it was due; waiting for a free connection therefore counts as latency.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
import uvloop

from sluicegate.bench.errors import BenchError
from sluicegate.bench.events import Says, Workload, stamp
from sluicegate.bench.peer import Peer
from sluicegate.bench.response import ResponseParser
from sluicegate.bench.tally import percentiles_ms
from sluicegate.bench.ticker import open_ticker, read_ticks

RETRY_DELAY_S = 0.05
MAX_RETRIES = 1_000
MAX_ANSWERS = 1_000
"""Distinct response bodies that are kept; equal ones are counted."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to send where; `rate` in events a second, 0 for as fast as the answers come."""

    host: str
    port: int
    run: str
    timestamp: str
    count: int
    per_request: int = 100
    connections: int = 8
    rate: float = 0.0
    says: Says = Says.MIXED


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What happened; times in nanoseconds of the monotonic clock, `ack_ms` percentiles from request to answer."""

    requests: int
    accepted: int
    retried: int
    start_ns: int
    end_ns: int
    ack_ms: dict[str, float] = field(default_factory=dict)


class Load:
    """The state that all connections share: what is still to send, and what has been answered."""

    def __init__(self, plan: LoadPlan, requests: Iterator[bytes]) -> None:
        self.plan = plan
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle: deque[Connection] = deque()
        self.answers: Counter[bytes] = Counter()
        self.acks_ns: list[int] = []
        self.retried = 0
        self.start_ns = self.end_ns = 0
        self._requests = list(requests)
        self._next = 0
        self._due: deque[tuple[bytes, int]] = deque()

    def take(self) -> tuple[bytes, int] | None:
        """The next request and when it was due, or None when none is."""
        if self.plan.rate:
            return self._due.popleft() if self._due else None
        if self._next == len(self._requests):
            return None
        self._next += 1
        return self._requests[self._next - 1], time.monotonic_ns()

    def schedule(self, n_requests: int, interval_ns: int) -> None:
        """Open loop: the next `n_requests` have become due; hand them to idle connections."""
        for index in range(self._next, min(self._next + n_requests, len(self._requests))):
            due_ns = self.start_ns + (index + 1) * interval_ns
            self._due.append((stamp(self._requests[index], due_ns), due_ns))
            self._next = index + 1
        while self._due and self.idle:
            self.idle.popleft().send_next()

    def answered(self, body: bytes, due_ns: int) -> None:
        """A request was taken; ends the run with the last."""
        self.end_ns = time.monotonic_ns()
        self.acks_ns.append(self.end_ns - due_ns)
        if len(self.answers) < MAX_ANSWERS or body in self.answers:
            self.answers[body] += 1
        if len(self.acks_ns) == len(self._requests) and not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        """The run can't go on."""
        if not self.done.done():
            self.done.set_exception(BenchError(reason))

    def report(self) -> LoadReport:
        """What has happened until now."""
        accepted = sum(_accepted(body) * times for body, times in self.answers.items())
        return LoadReport(
            len(self.acks_ns), accepted, self.retried, self.start_ns, self.end_ns, percentiles_ms(self.acks_ns)
        )


class Connection(Peer):
    """One kept-alive connection with at most one unanswered request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = ResponseParser()
        self._request = b""
        self._due_ns = 0
        self._retries = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """An end before the last answer ends the run."""
        self._load.fail(f"the system closed a connection: {exc or 'no error'}")

    def send_next(self) -> None:
        """Send what is due, or become idle."""
        item = self._load.take()
        if item is None:
            self._load.idle.append(self)
            return
        self._request, self._due_ns = item
        self._retries = 0
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take answers; 429 and 503 mean once more, anything else but 200 ends the run."""
        for status, body in self._parser.feed(data):
            if status == 200:
                self._load.answered(body, self._due_ns)
                self.send_next()
            elif status in (429, 503) and self._retries < MAX_RETRIES:
                self._retries += 1
                self._load.retried += 1
                asyncio.get_running_loop().call_later(RETRY_DELAY_S, self.transport.write, self._request)
            else:
                self._load.fail(f"the system answered {status}: {body[:300].decode(errors='replace')}")

    def close(self) -> None:
        """End the connection."""
        self.transport.abort()


async def run_load(plan: LoadPlan) -> None:
    """Follow the plan, speaking to the parent over standard input and output."""
    workload = Workload(plan.run, plan.timestamp, plan.says)
    host = f"{plan.host}:{plan.port}"
    load = Load(plan, workload.requests(plan.count, per_request=plan.per_request, host=host))
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    for _ in range(plan.connections):
        _transport, connection = await loop.create_connection(lambda: Connection(load), plan.host, plan.port)
        connections.append(connection)
    _say({"ready": True})
    sys.stdin.readline()
    await _send_all(load, connections)
    _say(asdict(load.report()))
    for connection in connections:
        connection.close()


async def _send_all(load: Load, connections: list[Connection]) -> None:
    loop = asyncio.get_running_loop()
    load.start_ns = time.monotonic_ns()
    for connection in connections:
        connection.send_next()
    if not load.plan.rate:
        await load.done
        return
    interval_ns = round(load.plan.per_request / load.plan.rate * 1e9)
    ticker = open_ticker(interval_ns)
    loop.add_reader(ticker, lambda: load.schedule(read_ticks(ticker), interval_ns))
    try:
        await load.done
    finally:
        loop.remove_reader(ticker)
        os.close(ticker)


def _accepted(body: bytes) -> int:
    answer: Any = msgspec.json.decode(body)
    accepted = answer.get("accepted") if isinstance(answer, dict) else None
    if not isinstance(accepted, int) or answer.get("rejected"):
        raise BenchError(f"the system did not accept every event: {body[:300].decode(errors='replace')}")
    return accepted


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run as `python -m sluicegate.bench.generator`; the plan comes over standard input."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=LoadPlan)
    try:
        uvloop.run(run_load(plan))
    except (BenchError, OSError) as error:
        _say({"error": f"generator: {error}"})
        sys.exit(1)


if __name__ == "__main__":
    main()
