from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.errors import LogDamaged
from sluicegate.paths import DataDir
from sluicegate.registry import Registry, open_data
from sluicegate.testing.batches import batch_of


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    return data_dir


def test_new_destination_starts_after_the_head(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "control.db")

    registered = registry.register(["crm", "archive"], head=7)

    assert {id_: (r.id, r.start, r.paused_reason) for id_, r in registered.items()} == {
        "crm": ("crm", 7, None),
        "archive": ("archive", 7, None),
    }


def test_known_destination_keeps_its_start(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    before = Registry(path).register(["crm"], head=7)

    after = Registry(path).register(["crm", "new"], head=20)

    assert after["crm"] == before["crm"]
    assert after["new"].start == 20


def test_removed_destination_is_kept_but_not_returned(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "control.db")
    registry.register(["old"], head=0)

    assert list(registry.register(["new"], head=5)) == ["new"]
    assert sorted(registry.all()) == ["new", "old"]


def test_pause_survives_and_ends(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "control.db")
    registry.register(["crm"], head=0)

    registry.set_paused("crm", "credentials")
    paused = Registry(tmp_path / "control.db").all()["crm"]
    registry.set_paused("crm", None)
    resumed = registry.all()["crm"]

    assert paused.paused_reason == "credentials"
    assert paused.paused_at_ms is not None and paused.paused_at_ms >= paused.registered_at_ms
    assert (resumed.paused_reason, resumed.paused_at_ms) == (None, None)


def test_unknown_destination_cannot_be_paused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Registry(tmp_path / "control.db").set_paused("nobody", "why")


def test_log_that_ends_before_a_registration_is_damage(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "control.db")
    registry.register(["crm"], head=7)

    with pytest.raises(LogDamaged, match="restore the newest log"):
        registry.register(["crm"], head=6)


def test_new_directory_gets_both_databases(data_dir: DataDir) -> None:
    registry, log = open_data(data_dir)

    assert (registry.log_created, registry.all(), log.head()) == (True, {}, 0)


def test_data_is_there_when_opened_again(data_dir: DataDir) -> None:
    registry, log = open_data(data_dir)
    log.append([batch_of([b"a"])], received_at_ms=1)
    registry.close()
    log.close()

    _, again = open_data(data_dir)

    assert again.head() == 1


@pytest.mark.parametrize("name", ["event_log", "control"])
def test_missing_database_is_never_replaced(data_dir: DataDir, name: str) -> None:
    for part in open_data(data_dir):
        part.close()
    getattr(data_dir, name).unlink()

    with pytest.raises(LogDamaged, match="missing"):
        open_data(data_dir)

    assert not getattr(data_dir, name).exists()


def test_start_that_ended_before_the_log_was_made_goes_on(data_dir: DataDir) -> None:
    Registry(data_dir.control).close()

    registry, log = open_data(data_dir)

    assert (registry.log_created, log.head()) == (True, 0)
