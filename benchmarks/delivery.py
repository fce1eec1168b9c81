"""What delivery costs: CPU per event of one destination's process, from the log to the vendor.

    python benchmarks/delivery.py [--events 200000] [--live 4000]

Backlog: the log is full when the worker starts. Live: another process appends singles, 2,000 a second, and latency is
counted from the append to the call of `deliver`. The receiver is a process of its own that reads and answers, no more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.plugin import Plugin, make_plugin
from sluicegate.delivery.report import Report
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.destinations.base import Batch
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.network import Network
from sluicegate.paths import DataDir

BATCH = 100
USERS = 5_000
ALLOWED = Combo("track", "bench", (("measurement", True),))
REFUSED = Combo("track", "bench", (("measurement", False),))
LOOPBACK = Network(("127.0.0.1",))
NEEDS = Requirement(("measurement",))


def fill(batch: EventBatch, number: int, combo: Combo) -> None:
    user = f"anon-{number * 7919 % USERS}"
    sent = time.monotonic_ns()
    event = b'{"type":"track","messageId":"m%d","sent":"%020d","pad":"%s"}' % (number, sent, b"x" * 440)
    batch.combos.append(combo)
    batch.message_ids.append(f"bench-{number:09d}")
    batch.user_ids.append(None)
    batch.anonymous_ids.append(user)
    batch.times_ms.append(1_700_000_000_000)
    batch.events.append(event)
    batch.n_bytes += len(event)


def append_all(path: Path, n_events: int, *, refused_half: bool) -> None:
    log = SqliteLog(path)
    log._db.pragma("synchronous", "OFF")
    for first in range(0, n_events, BATCH):
        batch = EventBatch()
        for number in range(first, min(n_events, first + BATCH)):
            fill(batch, number, REFUSED if refused_half and number % 2 else ALLOWED)
        log.append([batch], received_at_ms=1)
    log.close()


def append_live(root: Path, n_events: int, per_s: int) -> None:
    log, bell = SqliteLog(DataDir(root).event_log), Bell(DataDir(root).bell)
    began = time.monotonic()
    for number in range(n_events):
        time.sleep(max(0.0, began + number / per_s - time.monotonic()))
        batch = EventBatch()
        fill(batch, number, ALLOWED)
        log.append([batch], received_at_ms=1)
        bell.ring()


def receive(server: socket.socket, delay_s: float) -> None:
    def serve(connection: socket.socket) -> None:
        buffer = memoryview(bytearray(1 << 20))
        while True:
            have = connection.recv_into(buffer)
            if not have:
                return
            while (end := bytes(buffer[: min(have, 4096)]).find(b"\r\n\r\n")) < 0:
                have += connection.recv_into(buffer[have:])
            head = bytes(buffer[:end]).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            while have < end + 4 + length:
                have += connection.recv_into(buffer[have:])
            time.sleep(delay_s)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


@contextmanager
def receiver(delay_s: float) -> Iterator[str]:
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    process = multiprocessing.Process(target=receive, args=(server, delay_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
    finally:
        process.terminate()
        process.join()
        server.close()


def deliver(data_dir: DataDir, config: DestinationConfig, n_events: int, on_call: object = None) -> tuple[float, float]:
    """Wall and CPU seconds until everything is delivered and committed."""

    def make(config: DestinationConfig, data_dir: DataDir) -> Plugin:
        plugin = make_plugin(config, data_dir)
        if callable(on_call):
            inner = plugin.instance.deliver

            def watched(batch: Batch) -> None:
                on_call(batch)
                inner(batch)

            plugin.instance.deliver = watched  # type: ignore[method-assign]
        return plugin

    def note(report: Report) -> None:
        if report.reason:
            print(report)

    worker = DeliveryWorker(config, data_dir, 1, note, start_offset=0, make=make)
    wall, cpu = time.monotonic(), time.process_time()
    worker.start()
    while (snapshot := worker.snapshot()).cursor < n_events:
        time.sleep(0.05)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    worker.stop()
    worker.join()
    assert snapshot.error is None, snapshot
    return wall, cpu


def backlog(name: str, config: DestinationConfig, n_events: int, *, refused_half: bool = False) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = DataDir(Path(folder))
        data_dir.create()
        append_all(data_dir.event_log, n_events, refused_half=refused_half)
        wall, cpu = deliver(data_dir, config, n_events)
    print(f"{name:<44} {n_events / wall:>9,.0f} events/s {cpu / n_events * 1e6:>7.2f} us CPU per event of the log")


def live(name: str, config: DestinationConfig, n_events: int, per_s: int) -> None:
    ages_ms: list[float] = []

    def on_call(batch: Batch) -> None:
        now = time.monotonic_ns()
        ages_ms.extend((now - int(raw[raw.index(b'"sent":"') + 8 :][:20])) / 1e6 for raw in batch.raws)

    with tempfile.TemporaryDirectory() as folder:
        data_dir = DataDir(Path(folder))
        data_dir.create()
        SqliteLog(data_dir.event_log).close()
        appender = multiprocessing.Process(target=append_live, args=(data_dir.root, n_events, per_s))
        appender.start()
        wall, cpu = deliver(data_dir, config, n_events, on_call)
        appender.join()
    ages_ms.sort()
    p50, p99 = statistics.median(ages_ms), ages_ms[int(len(ages_ms) * 0.99)]
    print(
        f"{name:<44} {n_events / wall:>9,.0f} events/s {cpu / n_events * 1e6:>7.2f} us CPU per event, "
        f"{cpu / wall:.0%} of a core; append to call p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--live", type=int, default=4_000)
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; events of 520 B, {BATCH} a row, {USERS:,} subjects")
    null = DestinationConfig("null", "null", NEEDS)
    with receiver(0.0) as url:  # for the imports alone
        backlog(
            "(first, with imports)",
            DestinationConfig("hook", "webhook", NEEDS, settings={"url": url}, network=LOOPBACK),
            10_000,
        )
    backlog("null", null, args.events)
    backlog("null, half denied", null, args.events, refused_half=True)
    backlog("null, all denied", replace(null, requires=Requirement(("marketing",))), args.events)
    backlog("file", DestinationConfig("file", "file", NEEDS, settings={"path": "out.jsonl"}), args.events)
    with receiver(0.0) as url:
        hook = DestinationConfig("hook", "webhook", NEEDS, settings={"url": url}, network=LOOPBACK)
        backlog("webhook", hook, args.events)
        backlog("webhook, 100 a call", replace(hook, batch_size=100), args.events)
        signed = replace(hook, settings={"url": url, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
        backlog("webhook, signed", signed, args.events)
    with receiver(0.05) as url:
        hook = DestinationConfig("hook", "webhook", NEEDS, settings={"url": url}, network=LOOPBACK)
        backlog("webhook, answers after 50 ms", hook, args.events)
        backlog("webhook, answers after 50 ms, 100 a call", replace(hook, batch_size=100), args.events // 4)
    live("null, live singles", null, args.live, 2_000)
    live("null, live singles", null, args.live // 10, 100)
    with receiver(0.0) as url:
        hook = DestinationConfig("hook", "webhook", NEEDS, settings={"url": url}, network=LOOPBACK)
        live("webhook, live singles", hook, args.live, 2_000)
        live("webhook, live singles", hook, args.live // 10, 100)


if __name__ == "__main__":
    main()
