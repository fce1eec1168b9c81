from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluicegate.config import embedded_config
from sluicegate.paths import DataDir
from sluicegate.scripts.admin import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration file."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SLUICEGATE_CONFIG", raising=False)
    monkeypatch.delenv("SLUICEGATE_DATA_DIR", raising=False)


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def explain(where: DataDir, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments, "--data-dir", str(where.root)])


def everything(where: DataDir) -> list[Path]:
    return sorted(where.root.rglob("*"))


def test_data_directory_that_does_not_exist_is_refused_and_not_made(where: DataDir) -> None:
    answer = explain(where, "m1")

    assert answer.exit_code == 1
    assert f"{where.root} has no event log; name the data directory with --data-dir" in answer.stderr
    assert not where.root.exists()


def test_system_with_a_configuration_file_is_not_explained_by_other_rules(where: DataDir) -> None:
    where.create()
    where.event_log.touch()
    before = everything(where)

    answer = explain(where, "m1")

    assert answer.exit_code == 2
    assert "name the configuration with --config" in answer.stderr
    assert everything(where) == before


def test_system_without_a_configuration_file_is_explained_by_the_built_in_one(where: DataDir) -> None:
    embedded_config(where.root)
    where.event_log.touch()
    where.logs.rmdir()
    before = everything(where)

    answer = explain(where, "m1", "crm")

    assert answer.exit_code == 1
    assert "there is no destination 'crm'" in answer.stderr and "archive" in answer.stderr
    assert everything(where) == before
