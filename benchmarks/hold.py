"""What holding costs: events a second that are held, released, deleted by a denial or given up, and what stays on disk.

    python benchmarks/hold.py [--events 200000] [--users 20000] [--rows 100]

Nothing is sent anywhere: the destination is `null`. `denied` is what counting denials costs, `hold` the same events
held, each by the router's sweep (no process) and by a running destination. A release is measured from the grant of
every subject in the ledger until the last event is delivered; the ledger is written before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sluicegate.accounts import StoreState
from sluicegate.config.model import (
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    OnUndecided,
    Requirement,
    SupervisorConfig,
)
from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.delivery.report import Report
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registry

SILENT = Combo("track", "bench")
NAME = "null"
DESTINATION = DestinationConfig(NAME, "null", Requirement(("measurement",)))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Bench:
    """A data directory with a full log and one destination."""

    def __init__(self, root: Path, options: argparse.Namespace, **consent: object) -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.options = options
        self.consent = ConsentConfig(hold_max=100_000, hold_total=100_000_000, **consent)  # type: ignore[arg-type]
        registry = Registry(self.data_dir.control)
        registry.register((NAME,), head=0)
        registry.close()
        self._fill()

    def _fill(self) -> None:
        log = SqliteLog(self.data_dir.event_log)
        log._db.pragma("synchronous", "OFF")
        for first in range(0, self.options.events, self.options.rows):
            batch = EventBatch()
            for number in range(first, min(first + self.options.rows, self.options.events)):
                event = b'{"type":"track","messageId":"m%d","pad":"%s"}' % (number, b"x" * 440)
                batch.combos.append(SILENT)
                batch.message_ids.append(f"m{number}")
                batch.user_ids.append(None)
                batch.anonymous_ids.append(f"anon-{number * 7919 % self.options.users}")
                batch.times_ms.append(now_ms() - 1_000)
                batch.events.append(event)
                batch.n_bytes += len(event)
            log.append([batch], received_at_ms=now_ms())
        log.close()

    def decide(self, granted: bool) -> None:
        ledger = Ledger(self.data_dir.consent, self.data_dir.consent_key)
        told = []
        for user in range(self.options.users):
            writes = decision({"measurement": granted}, now_ms(), received_ms=now_ms())
            told.append(Told(Subject(None, f"anon-{user}"), writes, Evidence.API, "bench"))
        ledger.record(told, now_ms=now_ms())
        ledger.close()

    def state(self) -> StoreState:
        store = DestinationStore.open(self.data_dir.store(NAME), start=0)
        state = store.state
        store.close()
        return state

    @contextmanager
    def swept(self) -> Iterator[None]:
        config = Config(
            self.data_dir.root, GatewayConfig(), SupervisorConfig(), {NAME: DESTINATION}, consent=self.consent
        )
        sweeper = Sweeper(config, self.data_dir, on_wanted=lambda ids: None, on_fatal=lambda error: None)
        sweeper.set_running(())
        sweeper.start()
        yield
        sweeper.stop()

    @contextmanager
    def running(self, epoch: int) -> Iterator[None]:
        ended = threading.Event()

        def report(one: Report) -> None:
            if one.kind != "loaded":
                ended.set()

        worker = DeliveryWorker(DESTINATION, self.data_dir, epoch, report, start_offset=0, consent=self.consent)
        worker.start()
        yield
        worker.stop(10.0)
        assert worker.join(20)

    def until(self, what: str, done: Callable[[StoreState], bool]) -> None:
        began, cpu = time.monotonic(), time.process_time()
        while not (self.data_dir.store(NAME).exists() and done(self.state())):
            time.sleep(0.01)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        n = self.options.events
        print(f"{what:34s} {n / took:12,.0f} events/s   {cpu / n * 1e6:6.2f} us CPU/event   {took:6.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=100, help="events in one row of the log")
    options = parser.parse_args()
    n = options.events
    os.nice(0)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options, on_undecided=OnUndecided.DROP)
        with bench.swept():
            bench.until("denied, no process", lambda s: s.cursor == n)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options, on_undecided=OnUndecided.DROP)
        with bench.running(1):
            bench.until("denied, running", lambda s: s.cursor == n)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        with bench.swept():
            bench.until("hold, no process", lambda s: s.held == n)
            print(f"{'':34s} {bench.data_dir.store(NAME).stat().st_size / n:12.1f} bytes/event in the store")
            bench.decide(False)
            bench.until("delete by denials, no process", lambda s: s.held == 0)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        with bench.running(1):
            bench.until("hold, running", lambda s: s.held == n)
        bench.decide(True)
        with bench.running(2):
            bench.until("release by grants, running", lambda s: s.delivered == n)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        with bench.swept():
            bench.until("hold, no process", lambda s: s.held == n)
        bench.consent = replace(bench.consent, hold_ttl_s=0.001)
        with bench.swept():
            bench.until("expire, no process", lambda s: s.held == 0)


if __name__ == "__main__":
    main()
