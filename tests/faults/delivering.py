"""A worker with the real webhook on a real log, in the test's own process, with its waits scaled down."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluicegate.accounts import StoreState
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.report import Report
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.network import Network
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event

COMBO = Combo("track", "web", (("measurement", True),))


class Delivering:
    """One webhook and its log; `start` and `stop` as often as needed."""

    def __init__(self, root: Path) -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.log = SqliteLog(self.data_dir.event_log)
        self.bell = Bell(self.data_dir.bell)
        self.reports: queue.Queue[Report] = queue.Queue()
        self.epoch = 0
        self.worker: DeliveryWorker | None = None

    def append(self, events: Sequence[tuple[str, str]]) -> None:
        """Events by id and subject, as one commit."""
        batch = EventBatch()
        for id_, subject in events:
            raw = b'{"messageId":"%s","anonymousId":"%s"}' % (id_.encode(), subject.encode())
            add_event(batch, raw, message_id=id_, combo=COMBO, anonymous_id=subject)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def start(self, url: str, *, timeout_s: float = 10.0, headers: dict[str, str] | None = None, **keys: Any) -> None:
        """Begin to deliver to this address."""
        self.epoch += 1
        settings = {"url": url, "headers": headers or {}}
        config = DestinationConfig(
            "hook",
            "webhook",
            Requirement(("measurement",)),
            timeout_s=timeout_s,
            settings=settings,
            network=Network(("127.0.0.1",)),
            **keys,
        )
        self.worker = DeliveryWorker(config, self.data_dir, self.epoch, self.reports.put, start_offset=0)
        self.worker.start()

    def stop(self) -> None:
        """End, if begun."""
        if self.worker is not None:
            self.worker.stop(5.0)
            assert self.worker.join(20)
            self.worker = None

    def wait(self, what: str, holds: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Until it holds; fails the test when it does not come true."""
        tick = threading.Event()
        for _ in range(round(timeout_s / 0.01)):
            if holds():
                return
            tick.wait(0.01)
        raise AssertionError(f"waited in vain for {what}: {self.worker and self.worker.snapshot()}")

    def wait_settled(self) -> None:
        """Until every event of the log is dealt with."""
        assert self.worker is not None
        head, worker = self.log.head(), self.worker
        self.wait("all events to be settled", lambda: worker.snapshot().cursor == head)

    def state(self) -> StoreState:
        """What the store says."""
        store = DestinationStore.open(self.data_dir.store("hook"), start=0)
        try:
            return store.state
        finally:
            store.close()

    def letters(self) -> Sequence[DeadLetter]:
        """The dead letters."""
        store = DestinationStore.open(self.data_dir.store("hook"), start=0)
        try:
            return store.letters.list()
        finally:
            store.close()

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.bell.close()
        self.log.close()


def scale_waits(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Make every wait of delivery shorter by this factor, so that an hour's story is told in seconds."""
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_BASE_S", 1.0 / factor)
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_CAP_S", 300.0 / factor)
    monkeypatch.setattr("sluicegate.delivery.breaker.OPEN_S", 60.0 / factor)
    monkeypatch.setattr("sluicegate.delivery.breaker.OPEN_CAP_S", 300.0 / factor)
    monkeypatch.setattr("sluicegate.delivery.budget.REFILL_PER_S", factor)
