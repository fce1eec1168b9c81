from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sluicegate.config.model import Config, DestinationConfig, GatewayConfig, Requirement, SupervisorConfig
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.registry import open_data


def test_housekeeping_drops_the_events_of_old_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.TRIM_EVERY_S", 0.01)
    data_dir = DataDir(tmp_path)
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["crm"], head=0)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=1, dead_letters=[DeadLetter(1, "m", Combo("track", "web"), b"{}", "400", 1, 1, 1, 1)])
    crm = DestinationConfig("crm", "webhook", Requirement(("necessary",)))
    sweeper = Sweeper(
        Config(tmp_path, GatewayConfig(), SupervisorConfig(), {"crm": crm}), data_dir, on_wanted=lambda ids: None
    )

    sweeper.start()
    tick = threading.Event()
    for _ in range(1_000):
        if not store.letters.count() or tick.wait(0.01):
            break
        sweeper.set_running([])
    sweeper.stop()

    dropped = store.letters.show(1)
    assert dropped is not None
    assert (dropped.status, dropped.event, store.state.dead) == ("dropped", b"", 1)
    store.close()
    registry.close()
    log.close()
