from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.scripts.admin import main


@pytest.mark.parametrize("command", ["validate", "serve", "status"])
def test_configuration_in_a_pipe_is_told_apart_from_one_that_is_not_there(tmp_path: Path, command: str) -> None:
    pipe = tmp_path / "sluicegate.toml"
    os.mkfifo(pipe)

    answers = [CliRunner().invoke(main, [command, "--config", str(path)]) for path in (pipe, tmp_path / "other.toml")]

    assert [answer.exit_code for answer in answers] == [2, 2]
    assert f"{pipe} is not a regular file; write the configuration to one" in answers[0].stderr
    assert "other.toml does not exist; write one with" in answers[1].stderr


@pytest.mark.parametrize(
    "command",
    [
        "erase --user-id anne",
        "erase --user-id anne --dry-run",
        "suppress --user-id anne",
        "unsuppress --user-id anne",
        "regulations",
        "consent set --user-id anne --deny marketing",
        "consent withdraw --user-id anne --all",
        "dead-letters list",
        "dead-letters drop --all",
        "fsck",
    ],
)
def test_folder_without_anything_of_a_system_is_not_worked_in(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "data"
    other.mkdir()
    (other / "results.csv").touch()

    told = CliRunner().invoke(main, command.split())

    assert told.exit_code != 0, told.output
    assert "data holds nothing of a system; name the data directory with --data-dir" in told.stderr
    assert [path.name for path in other.iterdir()] == ["results.csv"]
