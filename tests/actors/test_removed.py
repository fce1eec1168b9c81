from __future__ import annotations

from pathlib import Path

from sluicegate.actors.records import Records
from sluicegate.actors.statuses import describe_removed
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.store import DestinationStore
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registry
from sluicegate.testing.batches import batch_of


def test_what_waits_for_a_removed_destination_is_filtered_until_it_comes_back(tmp_path: Path) -> None:
    data_dir, crm = DataDir(tmp_path), DestinationConfig("crm", "null", Requirement(("necessary",)))
    data_dir.create()
    log = SqliteLog(data_dir.event_log)
    Registry(data_dir.control).close()
    Records.open(data_dir, [crm])
    log.append([batch_of([b"{}"] * 5)], received_at_ms=1)
    log.close()
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(3)
    store.commit(3, cursor=2, delivered=1, denied={"consent_denied": 1})
    store.close()

    (removed,) = describe_removed(Records.open(data_dir, []))
    back = Records.open(data_dir, [crm])

    assert (removed.id, removed.state, removed.epoch) == ("crm", "removed", 3)
    assert (removed.accepted, removed.delivered, removed.pending, removed.denied) == (5, 1, 0, 4)
    assert removed.denied_by == {"consent_denied": 1, "removed": 3}
    assert describe_removed(back) == ()
    assert back.accounts(["crm"], head=5)["crm"].pending == 3
