from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.accounts import Account, read_accounts
from sluicegate.config.model import Config, DestinationConfig, GatewayConfig, LogConfig, Requirement, SupervisorConfig
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.testing.batches import batch_of
from tests.delivery.world import World
from tests.doubles.vendor import Vendor

YES = Combo("track", "web", (("measurement", True),))
NO = Combo("track", "web", (("measurement", False),))
N_EVENTS = 40


class Swept:
    """A data directory with two destinations that nobody loads, and the sweeper that minds them."""

    def __init__(self, root: Path, log_config: LogConfig) -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.registry, self.log = open_data(self.data_dir)
        self.registered = self.registry.register(["waits", "denied"], head=0)
        destinations = {
            "waits": DestinationConfig("waits", "null", Requirement(("necessary",))),
            "denied": DestinationConfig("denied", "null", Requirement(("measurement",))),
        }
        config = Config(root, GatewayConfig(), SupervisorConfig(), destinations, log=log_config)
        self.wanted: queue.Queue[tuple[str, ...]] = queue.Queue()
        self.fatal: queue.Queue[Exception] = queue.Queue()
        self.sweeper = Sweeper(config, self.data_dir, on_wanted=self.wanted.put, on_fatal=self.fatal.put)

    def accounts(self) -> dict[str, Account]:
        return read_accounts(self.data_dir, self.registered, head=self.log.head())

    def close(self) -> None:
        self.sweeper.stop()
        self.log.close()
        self.registry.close()


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[Swept]:
    swept = Swept(tmp_path, LogConfig(max_bytes=2_000_000, min_free_bytes=0, min_free_percent=0))
    yield swept
    swept.close()


def test_accounts_of_destinations_without_a_process_count_what_expired(swept: Swept) -> None:
    necessary = Combo("track", "web", (("measurement", False), ("necessary", True)))
    for _ in range(N_EVENTS):
        swept.log.append([batch_of([os.urandom(100_000)], combo=necessary)], received_at_ms=int(time.time() * 1000))

    swept.sweeper.set_running(())
    swept.sweeper.start()
    World.wait(lambda: swept.accounts()["waits"].expired > 0)

    waits = swept.accounts()["waits"]
    World.wait(lambda: swept.accounts()["denied"].pending == 0)
    denied = swept.accounts()["denied"]
    tail = swept.log.tail()
    assert (waits.expired, waits.pending, waits.denied) == (tail - 1, N_EVENTS - tail + 1, 0)
    assert denied.expired + denied.denied == denied.accepted == N_EVENTS
    assert 20 < tail - 1 < N_EVENTS


def test_log_that_expired_as_a_whole_leaves_nothing_pending(swept: Swept) -> None:
    swept.log.append([batch_of([os.urandom(3_000_000)], combo=YES)], received_at_ms=1)

    swept.sweeper.set_running(())
    swept.sweeper.start()
    World.wait(lambda: all(one.expired == 1 for one in swept.accounts().values()))

    assert all(one.pending == 0 for one in swept.accounts().values())


def test_loaded_destination_counts_what_expired_before_it_was_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append("a", "b")
    world.append("c")
    world.log.trim(3)

    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()
    state = world.state()
    world.close()

    assert (state.cursor, state.expired, state.delivered) == (3, 2, 1)
    assert vendor.events == ["c"]


def test_loaded_destination_counts_an_empty_log_as_expired(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append("a", "b")
    world.log.trim(3)

    world.start(Vendor())
    world.wait_caught_up()
    state = world.state()
    world.close()

    assert (state.cursor, state.expired, state.delivered) == (2, 2, 0)
