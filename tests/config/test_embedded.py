from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sluicegate.config import embedded_config
from sluicegate.config.model import Requirement
from sluicegate.config.secret import Secret
from sluicegate.errors import ConfigError
from sluicegate.paths import DataDir


def test_the_write_key_is_made_once_and_kept(tmp_path: Path) -> None:
    first, made = embedded_config(tmp_path / "data")
    second, made_again = embedded_config(tmp_path / "data")

    assert made is not None
    assert made_again is None
    assert first == second
    assert list(first.gateway.write_keys.values()) == [Secret(made)]


def test_the_write_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    embedded_config(tmp_path)

    assert stat.S_IMODE(DataDir(tmp_path).write_key.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".write-key-*"))


def test_events_go_to_one_file(tmp_path: Path) -> None:
    config, _ = embedded_config(tmp_path, listen="127.0.0.1:0", actor_port=1901)

    archive = config.destinations["archive"]
    assert (archive.type, archive.requires) == ("file", Requirement(all=("necessary",)))
    assert archive.settings == {"path": "events.jsonl"}
    assert (config.gateway.port, config.actor_port, config.data_dir) == (0, 1901, tmp_path)


def write_key(data_dir: Path, text: str) -> None:
    path = DataDir(data_dir).write_key
    path.touch(mode=0o600)
    path.write_text(text)


def test_a_write_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "a-write-key\n")
    DataDir(tmp_path).write_key.chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        embedded_config(tmp_path)


def test_a_damaged_write_key_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "\n")

    with pytest.raises(ConfigError, match="delete"):
        embedded_config(tmp_path)


def test_a_write_key_with_a_variable_in_it_is_taken_as_it_is(tmp_path: Path) -> None:
    write_key(tmp_path, "${A}-and-more\n")

    config, _ = embedded_config(tmp_path)

    assert config.gateway.write_keys["default"].reveal() == "${A}-and-more"


def test_a_data_dir_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="data-dir"):
        embedded_config(tmp_path / "file")
