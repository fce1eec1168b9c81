"""How long a withdrawal takes while many events wait: `POST /v1/consent` until its answer, which says it is in force.

    python benchmarks/withdrawal.py [--events 100000] [--withdrawals 300] [--dir FOLDER]

A real system with one webhook destination that needs measurement, which everybody has granted. `away`: it is paused and
nothing is loaded. `slow`: its receiver takes two seconds for each call of 100 events, so that a call is always under
way. The events wait; then users refuse, one after the other on one connection, each once.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from uuid import uuid4

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from sluicegate.bench.conditions import conditions
from sluicegate.bench.events import USERS, WRITE_KEY, Says
from sluicegate.bench.generator import LoadPlan, LoadReport
from sluicegate.bench.processes import Helper
from sluicegate.bench.systems import Declared, Sluicegate
from sluicegate.bench.tally import percentiles_ms
from sluicegate.client import Client
from sluicegate.messages.control import Pause

SLOW_MS = 2_000.0
PER_CALL = 100
CONNECTIONS = 8
LOAD_TIMEOUT_S = 600.0
HOOK = "hook"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the withdrawals of one system took, and how many waiting events they stopped."""

    name: str
    durations_ns: list[int]
    stopped: list[int]
    in_flight: int
    unconfirmed: int


@contextmanager
def queued(folder: Path, port: int, *, n_events: int, away: bool) -> Iterator[Sluicegate]:
    """A system in whose log so many events wait for its destination."""
    settings = {"url": f"http://127.0.0.1:{port}/hook", "batch_size": PER_CALL, "in_flight": 1}
    system = Sluicegate(folder, {HOOK: Declared("webhook", "measurement", settings)})
    try:
        if away:
            with closing(Client(folder / "data", source="bench")) as client:
                client.ask_supervisor(Pause(uuid4().hex, HOOK))
        fill(system, n_events)
        yield system
    finally:
        system.stop()


def fill(system: Sluicegate, n_events: int) -> None:
    """Send the events, of users who grant everything."""
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    plan = LoadPlan("127.0.0.1", system.port, "w0001", timestamp, n_events, 100, CONNECTIONS, says=Says.GRANTED)
    generator = Helper("generator")
    try:
        generator.ask(asdict(plan))
        report = msgspec.convert(generator.ask({}, timeout_s=LOAD_TIMEOUT_S), LoadReport)
    finally:
        generator.stop()
    if report.accepted != n_events:
        sys.exit(f"{report.accepted} of {n_events} events were accepted{system.explain()}")


def withdraw(name: str, system: Sluicegate, n_withdrawals: int) -> Measured:
    """Let so many users refuse."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=30)
    durations_ns, stopped, in_flight, unconfirmed = [], [], 0, 0
    with closing(connection):
        for number in range(n_withdrawals):
            user = (number * 7) % USERS
            told = {"userId": f"user-{user:06d}", "preferences": {"measurement": False}}
            body = json.dumps(told).encode()
            began = time.perf_counter_ns()
            connection.request("POST", "/v1/consent", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            durations_ns.append(time.perf_counter_ns() - began)
            if response.status not in (200, 202):
                sys.exit(f"{response.status}: {answer}{system.explain()}")
            stopped.append(answer.get("stopped", {}).get(HOOK, 0))
            in_flight += bool(answer.get("inFlight"))
            unconfirmed += response.status == 202
    return Measured(name, durations_ns, stopped, in_flight, unconfirmed)


def table_of(found: list[Measured]) -> Table:
    """One row for each system."""
    table = Table(title="A withdrawal, until it is in force", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("destination")
    for title in ("withdrawals", "p50 ms", "p99 ms", "max ms", "events stopped", "with a call under way", "late"):
        table.add_column(title, justify="right")
    for one in found:
        percentiles = [f"{ms:.1f}" for ms in percentiles_ms(one.durations_ns).values()]
        n = f"{len(one.durations_ns)}"
        table.add_row(one.name, n, *percentiles, f"{mean(one.stopped):.1f}", f"{one.in_flight}", f"{one.unconfirmed}")
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--withdrawals", type=int, default=300)
    parser.add_argument("--dir", type=Path, help="where data is written; default: the temporary directory")
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    found: list[Measured] = []
    receiver = Helper("receiver")
    try:
        port = int(receiver.answer()["port"])
        receiver.ask({"do": "reset", "delay_ms": SLOW_MS})
        with tempfile.TemporaryDirectory(prefix="sluicegate-withdrawal-", dir=options.dir) as folder:
            for line in conditions(Path(folder), connections=CONNECTIONS, runs=1, events=options.events).lines()[:3]:
                console.print(line, soft_wrap=True)
            for name in ("away", "slow"):
                with queued(Path(folder) / name, port, n_events=options.events, away=name == "away") as system:
                    found.append(withdraw(name, system, options.withdrawals))
    finally:
        receiver.stop()
    console.print(table_of(found))


if __name__ == "__main__":
    main()
