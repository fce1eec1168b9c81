"""A destination with its event log, on disk, and the worker that delivers to it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from sluicegate.accounts import StoreState
from sluicegate.config.model import ConsentConfig, DestinationConfig, Requirement
from sluicegate.delivery.report import Report
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event
from tests.doubles.vendor import Vendor

YES = Combo("track", "web", (("measurement", True),))
NO = Combo("track", "web", (("measurement", False),))


class World:
    """A data directory with a log, and at most one worker at a time."""

    def __init__(self, root: Path) -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.log = SqliteLog(self.data_dir.event_log)
        self.bell = Bell(self.data_dir.bell)
        self.config = DestinationConfig("vendor", "vendor", Requirement(("measurement",)))
        self.consent = ConsentConfig()
        self.epoch = 0
        self.keeping_up: list[bool] = []
        """What the worker has told of it."""
        self.reports: queue.Queue[Report] = queue.Queue()
        self.worker: DeliveryWorker | None = None

    def append(self, *ids: str, combo: Combo = YES, subject: str | None = None) -> None:
        batch = EventBatch()
        for id_ in ids:
            add_event(batch, b'{"id":"%s"}' % id_.encode(), message_id=id_, combo=combo, anonymous_id=subject or id_)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def append_raw(self, id_: str, event: bytes, *, subject: str | None) -> None:
        batch = EventBatch()
        add_event(batch, event, message_id=id_, combo=YES, anonymous_id=subject)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def start(self, vendor: Vendor) -> DeliveryWorker:
        self.epoch += 1
        self.worker = DeliveryWorker(
            self.config,
            self.data_dir,
            self.epoch,
            self.reports.put,
            start_offset=0,
            make=vendor.make,
            consent=self.consent,
            on_keeping_up=self.keeping_up.append,
        )
        self.worker.start()
        return self.worker

    def next_report(self) -> Report:
        return self.reports.get(timeout=10)

    def wait_caught_up(self) -> None:
        assert self.worker is not None
        head = self.log.head()
        self.wait(lambda: self.worker.snapshot().cursor == head and self.worker.snapshot().caught_up)  # type: ignore[union-attr]

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(1_000):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("did not come true")

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.stop(5.0)
            assert self.worker.join(10)

    def close(self) -> None:
        self.stop()
        self.bell.close()
        self.log.close()

    def store(self) -> DestinationStore:
        return DestinationStore.open(self.data_dir.store("vendor"), start=0)

    def state(self) -> StoreState:
        store = self.store()
        try:
            return store.state
        finally:
            store.close()


def in_call(world: World) -> tuple[DeliveryWorker, Vendor, threading.Event]:
    """A worker whose call for the event "a" has begun and lasts until the last is set."""
    world.append("a")
    release = threading.Event()
    vendor = Vendor(lambda batch: release.wait(10))
    worker = world.start(vendor)
    vendor.wait_for(lambda: vendor.calls == [["a"]])
    return worker, vendor, release
