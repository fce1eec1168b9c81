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
