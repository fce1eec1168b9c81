from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.report import Report, Snapshot
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.destinations.base import Batch
from sluicegate.errors import Retry
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event
from tests.doubles.vendor import Vendor

CONFIG = DestinationConfig("vendor", "vendor", Requirement(("measurement",)))
YES = Combo("track", "web", (("measurement", True),))
N_EVENTS = 40


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    batch = EventBatch()
    for number in range(N_EVENTS):
        id_ = f"e{number}"
        add_event(batch, b"{}", message_id=id_, combo=YES, anonymous_id=id_)
    log = SqliteLog(data_dir.event_log)
    log.append([batch], received_at_ms=1)
    log.close()
    return data_dir


class Life:
    """One worker, until something is true of it; it is ended by the constructor."""

    def __init__(
        self,
        data_dir: DataDir,
        epoch: int,
        vendor: Vendor,
        *,
        until: Callable[[Snapshot], bool],
        config: DestinationConfig = CONFIG,
    ) -> None:
        self.reports: list[Report] = []
        worker = DeliveryWorker(config, data_dir, epoch, self.reports.append, start_offset=0, make=vendor.make)
        worker.start()
        tick = threading.Event()
        try:
            for _ in range(3_000):
                self.snapshot = worker.snapshot()
                if until(self.snapshot):
                    return
                tick.wait(0.01)
            raise AssertionError(f"did not come true: {self.snapshot}")
        finally:
            worker.stop(5.0)
            assert worker.join(30)


def failing() -> Vendor:
    def fail(batch: Batch) -> None:
        raise Retry("down")

    return Vendor(answer=fail, limits=Limits(max_events=1, in_flight=8))


def is_open(snapshot: Snapshot) -> bool:
    return snapshot.breaker == "open"


def test_next_worker_leaves_a_vendor_in_an_outage_alone_and_says_why(data_dir: DataDir) -> None:
    first, second = failing(), Vendor()
    Life(data_dir, 1, first, until=is_open)

    life = Life(data_dir, 2, second, until=is_open)

    assert len(first.calls) >= 10
    assert second.calls == []
    assert "circuit breaker open until" in (life.snapshot.reason or "")


def test_worker_with_another_configuration_calls_at_once(data_dir: DataDir) -> None:
    Life(data_dir, 1, failing(), until=is_open)
    vendor, config = Vendor(), replace(CONFIG, settings={"address": "another"})

    life = Life(data_dir, 2, vendor, until=lambda s: s.delivered == N_EVENTS, config=config)

    assert len(vendor.events) == N_EVENTS
    assert life.snapshot.breaker == "closed"
