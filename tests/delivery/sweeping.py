"""A sweeper with two destinations to mind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from sluicegate.accounts import StoreState
from sluicegate.config.model import (
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    LogConfig,
    OnUndecided,
    Requirement,
    SupervisorConfig,
)
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registry
from sluicegate.testing.batches import add_event

NO = Combo("track", "web", (("marketing", False),))
YES = Combo("track", "web", (("marketing", True),))
SILENT = Combo("track", "web")
IDS = ("ads", "crm")
AGES_S = 1e10  # the events of these tests arrived in 1970
LETTER = DeadLetter(1, "m1", NO, b"{}", "400", 1, 0, 0, 0)


class World:
    """Two destinations that may have nothing of what arrives, and a sweeper."""

    def __init__(self, root: Path, *, crm: str = "marketing") -> None:
        self.data_dir = DataDir(root)
        self.data_dir.create()
        self.log = SqliteLog(self.data_dir.event_log)
        self.bell = Bell(self.data_dir.bell)
        registry = Registry(self.data_dir.control)
        registry.register(IDS, head=0)
        registry.close()
        purposes = {"ads": "marketing", "crm": crm}
        destinations = {id: DestinationConfig(id, "http", Requirement((purposes[id],))) for id in IDS}
        consent = ConsentConfig(ttl_s=0, on_undecided=OnUndecided.DROP)
        log = LogConfig(retention_s=0.0, max_age_s=AGES_S, min_free_bytes=0, min_free_percent=0)
        config = Config(root, GatewayConfig(), SupervisorConfig(), destinations, log=log, consent=consent)
        self.wanted: list[tuple[str, ...]] = []
        self.fatal: queue.Queue[Exception] = queue.Queue()
        self.sweeper = Sweeper(config, self.data_dir, on_wanted=self.wanted.append, on_fatal=self.fatal.put)

    def append(self, n_events: int, combo: Combo = NO, visitor: str = "s") -> None:
        batch = EventBatch()
        for index in range(n_events):
            add_event(batch, b"{}", message_id=f"m{index}", combo=combo, anonymous_id=visitor)
        self.log.append([batch], received_at_ms=1)
        self.bell.ring()

    def store(self, id: str) -> DestinationStore:
        return DestinationStore.open(self.data_dir.store(id), start=0)

    def state(self, id: str) -> StoreState:
        store = self.store(id)
        state = store.state
        store.close()
        return state

    def spoil(self, id: str) -> None:
        self.data_dir.stores.mkdir(exist_ok=True)
        self.data_dir.store(id).write_bytes(b"not a store" * 1_000)

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(3_000):
            if condition():
                return
            tick.wait(0.01)
        raise AssertionError("did not come true")
