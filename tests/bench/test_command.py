from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.bench.measure import started, tree
from sluicegate.bench.modes import Results
from sluicegate.scripts.bench import bench


def test_command_measures_the_straight_line_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["--system", "straight", "--mode", "batches,singles", "--events", "1000", "--runs", "1", "--json"]

    result = CliRunner().invoke(bench, [*arguments, "--dir", str(tmp_path)])

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [(row["load"], row["lost"], row["duplicates"]) for row in report["rows"]] == [
        ("batches", 0, 0),
        ("singles", 0, 0),
    ]
    assert list(tmp_path.iterdir()) == []


def test_command_fails_when_events_were_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Results, "faults", 3)
    arguments = ["--system", "straight", "--mode", "batches", "--events", "100", "--runs", "1"]

    result = CliRunner().invoke(bench, [*arguments, "--dir", str(tmp_path)])

    assert result.exit_code == 1
    assert "3 events were lost" in result.stderr


def test_unknown_mode_is_a_usage_error() -> None:
    result = CliRunner().invoke(bench, ["--mode", "batches,warp"])

    assert result.exit_code == 2
    assert "warp" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_command_ends_all_that_it_started(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["--system", "straight", "--mode", "batches", "--events", "100", "--runs", "60"]
    command = [sys.executable, "-c", "from sluicegate.scripts.bench import bench; bench()", *arguments]
    process = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    members = tree(process.pid)

    process.send_signal(number)
    process.stderr.read()

    assert process.wait() == 1
    assert len(members) >= 5
    assert [pid for pid in members if started(pid) is not None] == []
    assert list(tmp_path.iterdir()) == []
    process.stderr.close()


def test_folder_may_be_named_from_where_the_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--system", "sluicegate", "--mode", "cold-start", "--runs", "1", "--json"]

    result = CliRunner().invoke(bench, [*arguments, "--dir", "below"])

    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["cold_starts_ms"]) == 1
