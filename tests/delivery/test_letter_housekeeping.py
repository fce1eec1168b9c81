from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sluicegate.accounts import store_schema
from sluicegate.audit.beginning import before_first
from sluicegate.audit.chain import add_decisions
from sluicegate.config.model import (
    Config,
    ConsentConfig,
    DestinationConfig,
    GatewayConfig,
    Requirement,
    SupervisorConfig,
)
from sluicegate.delivery.decided import in_order
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.sweeper import Sweeper
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.proof import decisions_about, verify
from sluicegate.registry import open_data
from sluicegate.sqlite import connect, transaction


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
        Config(tmp_path, GatewayConfig(), SupervisorConfig(), {"crm": crm}),
        data_dir,
        on_wanted=lambda ids: None,
        on_fatal=lambda error: None,
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


def test_statement_53_housekeeping_removes_decisions_after_their_time_and_the_rest_still_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.sweeper.TRIM_EVERY_S", 0.01)
    data_dir = DataDir(tmp_path)
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["crm"], head=0)
    db = connect(data_dir.store("crm"), store_schema(0))
    with transaction(db):
        db.execute("UPDATE state SET cursor = 3, delivered = 3")
        add_decisions(db, in_order(3, 0, 0, {}), last=3, now_ms=1)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=5, denied={"consent_denied": 2})
    crm = DestinationConfig("crm", "webhook", Requirement(("necessary",)))
    settings = Config(
        tmp_path, GatewayConfig(), SupervisorConfig(), {"crm": crm}, consent=ConsentConfig(audit_ttl_s=86_400.0)
    )
    sweeper = Sweeper(settings, data_dir, on_wanted=lambda ids: None, on_fatal=lambda error: None)

    sweeper.start()
    tick = threading.Event()
    for _ in range(1_000):
        if before_first(db).last or tick.wait(0.01):
            break
        sweeper.set_running([])
    sweeper.stop()

    (found,) = verify(data_dir, head=5)
    assert (found.fault, found.since, found.rows, dict(found.decided)) == (None, 3, 1, {"delivered": 3, "denied": 2})
    assert decisions_about(data_dir.store("crm"), 1) is None
    assert [entry.word for entry in decisions_about(data_dir.store("crm"), 4) or []] == ["denied:consent_denied"]
    db.close()
    store.close()
    registry.close()
    log.close()
