"""What each destination costs in its own process: `python -m benchmarks.destinations [TYPE ...] [--events 10000]`.

A real system (`sluicegate serve`) for every type, with a server on this machine in the vendor's place. The destination
is loaded by one event: load time and memory are those of its process then. Then it is paused, events are posted, and it
is resumed: events per second are from loaded to the last event counted as delivered. SaaS vendors are a process that
reads requests and answers 200; PostgreSQL is Debian's, ClickHouse its engine inside chDB, BigQuery the tests' server,
Kafka librdkafka's mock cluster in a process of its own. Objects go to a folder; `parquet` is `objectstore` with that
format. Import is what a type's module and library cost in a fresh process on top of `file`, the median of seven: CPU
time and private memory.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from benchmarks.delivery import receiver
from benchmarks.lake import IMPORTS, import_cost, kafka_brokers
from benchmarks.warehouse import EVENT
from tests.destinations.warehouse.clickhouse_peer import ClickHousePeer, ClickHouseServer
from tests.destinations.warehouse.postgres_peer import PostgresPeer
from tests.doubles.bigquery_server import BigQueryServer
from tests.doubles.postgres_cluster import running_cluster
from tests.end_to_end.harness import System

Settings = Mapping[str, Any]
SUBJECTS, BATCH = 200, 200
NOT_NEEDED = ("numpy", "pandas", "pyarrow")
"""What the databases' libraries import when it is there; here the tests' ClickHouse brings it."""
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def saas(**settings: Any) -> Iterator[Settings]:
    """Settings of a type that posts to `url`."""
    with receiver(0.0) as url:
        yield {"url": url, **settings}


@contextmanager
def alone(**settings: Any) -> Iterator[Settings]:
    """Settings of a type that has no peer."""
    yield settings


@contextmanager
def postgres() -> Iterator[Settings]:
    with contextmanager(running_cluster)() as cluster:
        yield PostgresPeer(cluster).login()


@contextmanager
def clickhouse() -> Iterator[Settings]:
    with closing(ClickHouseServer()) as server:
        name = ClickHousePeer(server).name
        yield {"url": server.url, "user": "user", "password": "password", "database": name}


@contextmanager
def bigquery() -> Iterator[Settings]:
    with closing(BigQueryServer()) as vendor:
        yield {"project": "project-1", "endpoint": vendor.url, "credentials": vendor.key}


@contextmanager
def kafka() -> Iterator[Settings]:
    with kafka_brokers() as brokers:
        yield {"brokers": brokers, "topic": "events"}


@contextmanager
def objects(**settings: Any) -> Iterator[Settings]:
    """A folder that is filled at once: what is measured is the work, and not the wait for a full object."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"type": "objectstore", "url": f"file://{folder}", "batch_age": "10ms", **settings}


PEERS: dict[str, Callable[[], AbstractContextManager[Settings]]] = {
    "null": alone,
    "file": lambda: alone(path="events.jsonl"),
    "webhook": saas,
    "segment": lambda: saas(write_key="k"),
    "ga4": lambda: saas(measurement_id="G-1", api_secret="s"),
    "posthog": lambda: saas(api_key="phc_k"),
    "amplitude": lambda: saas(api_key="k"),
    "mixpanel": lambda: saas(token="t", api_secret="s"),
    "meta": lambda: saas(pixel_id="1", access_token="t"),
    "postgres": postgres,
    "clickhouse": clickhouse,
    "bigquery": bigquery,
    "kafka": kafka,
    "objectstore": objects,
    "parquet": lambda: objects(format="parquet"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one type: load time, memory of its process after loading, and delivery of a backlog."""

    load_s: float
    pss_bytes: int
    own_bytes: int
    """Memory that no other process shares."""
    events_per_s: float
    cpu_s_per_event: float


def import_of(kind: str) -> tuple[float, float]:
    """CPU milliseconds and private MiB of importing one type."""
    code = IMPORTS["objectstore, parquet"] if kind == "parquet" else f"load_type({kind!r})"
    with tempfile.TemporaryDirectory() as folder:
        return import_cost(code, environ=environ_for(kind, Path(folder)))


def environ_for(kind: str, folder: Path) -> dict[str, str]:
    """The environment of a type: without the packages that it does not need, but its library imports."""
    return {} if kind == "parquet" else {"PYTHONPATH": str(without(NOT_NEEDED, folder / "without"))}


def event() -> dict[str, Any]:
    """A product added to a cart, now, by one of some people."""
    id_ = uuid4()
    visitor = f"visitor-{id_.int % SUBJECTS}"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    context = {**EVENT["context"], "consent": {"categoryPreferences": {"measurement": True, "marketing": True}}}
    times = dict.fromkeys(("timestamp", "originalTimestamp", "sentAt"), now)
    own = {"messageId": str(id_), "userId": visitor, "anonymousId": visitor, "context": context, **times}
    return {name: value for name, value in {**EVENT, **own}.items() if name != "receivedAt"}


def measure(kind: str, settings: Settings, n_events: int) -> Cost:
    """Run a system of its own for one type."""
    lines = ["[destinations.it]", 'requires = ["measurement"]']
    given = {"type": kind, **settings}
    lines += [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in given.items()]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environ = environ_for(kind, folder)
        running = stack.enter_context(closing(System(folder, "\n".join(lines), environ=environ)))
        running.start()
        running.post([event()])
        loaded = running.until_delivered("it", 1)
        pss_bytes, own_bytes = memory(loaded.pid)
        load_cpu_s = cpu_s(loaded.pid)
        running.admin("pause", "it")
        for _ in range(0, n_events, BATCH):
            running.post([event() for _ in range(BATCH)])
        running.admin("resume", "it")
        done = running.until_delivered("it", 1 + n_events)
        wall_s = time.time() - (done.loaded_at or 0.0)
        cost_s = (cpu_s(done.pid) - load_cpu_s) / n_events
        load_s = (loaded.loaded_at or 0.0) - (loaded.last_attempt or 0.0)
        return Cost(load_s, pss_bytes, own_bytes, n_events / wall_s, cost_s)


def without(names: tuple[str, ...], folder: Path) -> Path:
    """A folder for PYTHONPATH with which these packages are as if they were not installed."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text(f"raise ImportError({name!r})\n")
    return folder


def memory(pid: int | None) -> tuple[int, int]:
    """Proportional and private memory of a process (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def cpu_s(pid: int | None) -> float:
    """CPU time of a process so far (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", choices=[[], *PEERS], default=[])
    parser.add_argument("--events", type=int, default=10_000)
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {args.events:,} events of {SUBJECTS} people")
    print("| type | import | load | memory (PSS) | of it private | events/s | CPU an event |")
    print("|---|---|---|---|---|---|---|")
    for kind in args.types or PEERS:
        with PEERS[kind]() as settings:
            cost = measure(kind, settings, args.events)
        import_ms, import_mib = import_of(kind)
        pss, own = (n_bytes / (1024 * 1024) for n_bytes in (cost.pss_bytes, cost.own_bytes))
        print(
            f"| `{kind}` | {import_ms:.0f} ms, {import_mib:.1f} MiB | {cost.load_s * 1e3:.0f} ms "
            f"| {pss:.1f} MiB | {own:.1f} MiB | {cost.events_per_s:,.0f} | {cost.cpu_s_per_event * 1e6:.0f} us |",
            flush=True,
        )


if __name__ == "__main__":
    main()
