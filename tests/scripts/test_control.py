from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner

from sluicegate.scripts import loading
from sluicegate.scripts.admin import main
from tests.end_to_end.harness import MakeSystem, System, track
from tests.end_to_end.plugins import install
from tests.end_to_end.receiver import Receiver

CONFIG = """
[purposes]
analytics = "measurement"
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "URL"
[destinations.ads]
type = "null"
requires = ["marketing"]
"""

SLOW = """
[supervisor]
spawn_timeout = "3s"
[destinations.slow]
type = "hangs_at_initialize"
requires = ["marketing"]
"""


@pytest.fixture
def running(system: MakeSystem, receiver: Receiver) -> System:
    return system(CONFIG.replace("URL", receiver.url)).start()


def found(answer: CompletedProcess[str]) -> Any:
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_commands_say_whether_they_have_changed_anything(running: System) -> None:
    running.admin("load", "crm")

    resumed = running.admin("resume", "crm")
    retried = running.admin("retry", "crm", "--json")
    reset = running.admin("reset", "crm", "--json")
    unloaded = [running.admin("unload", "crm", "--json") for _ in range(2)]
    paused = [running.admin("pause", "crm", "--json") for _ in range(2)]
    cleared = running.admin("clear", "--json")

    assert (resumed.returncode, resumed.stdout) == (0, "crm is not paused\n")
    assert found(retried)["changed"] is found(reset)["changed"] is False
    assert [found(one) for one in unloaded] == [
        {"id": "crm", "changed": True, "text": "crm is unloaded"},
        {"id": "crm", "changed": False, "text": "crm is not loaded"},
    ]
    assert [found(one)["changed"] for one in paused] == [True, False]
    assert found(cleared)["id"] is None


def test_preload_knows_the_aliases_of_the_configuration(running: System) -> None:
    answer = running.admin("preload", "--consent", "analytics", "--json")
    denied = running.admin("preload", "--consent", "marketing,-marketing", "--json")

    assert found(answer) == {"crm": None}
    assert found(denied) == {}


def test_preload_refuses_a_purpose_that_nobody_has_defined(running: System) -> None:
    answer = running.admin("preload", "--consent", "mesurement", "--json")
    empty = running.admin("preload", "--consent", "-")

    assert answer.returncode == 1
    assert "did you mean measurement" in json.loads(answer.stderr)["error"]
    assert empty.returncode == 2


def test_pause_over_a_vendors_refusal_keeps_its_reason_and_the_way_out(running: System, receiver: Receiver) -> None:
    receiver.answer = lambda body: (401, {})
    running.post([track(consent={"measurement": True})])
    running.until("crm", "refused", lambda s: s.state == "paused")
    failed = found(running.admin("stats", "--json"))["failed"]

    running.admin("pause", "crm")
    paused = running.status("crm")
    running.stop()
    path = running.config_path
    path.write_text(
        path.read_text().replace('requires = ["measurement"]', 'requires = ["measurement"]\ntimeout = "7s"')
    )
    running.start()
    changed = running.status("crm")
    loaded = running.admin("load", "crm")

    assert failed == 1
    assert "paused by an operator" in (paused.reason or "") and "401" in (paused.reason or "")
    assert (changed.state, changed.reason) == ("paused", "paused by an operator")
    assert "crm: paused by an operator\n" in loaded.stdout


def test_pause_that_would_not_outlast_a_restart_fails(running: System) -> None:
    db = sqlite3.connect(running.data_dir.control)
    db.execute("CREATE TRIGGER broken BEFORE UPDATE ON destinations BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    db.close()

    paused = running.admin("pause", "crm")

    assert (paused.returncode, paused.stdout) == (1, "")
    assert "crm is paused only until the next restart" in paused.stderr and "try again" in paused.stderr


@pytest.mark.parametrize("command", ["load slow", "preload --consent marketing"])
def test_load_that_takes_longer_than_a_command_waits_is_not_told_as_a_system_that_does_not_run(
    system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    running = system(SLOW, environ=install(tmp_path / "plugins")).start()
    monkeypatch.setattr(loading, "LOAD_TIMEOUT_S", 0.5)

    told = CliRunner().invoke(main, [*command.split(), "--data-dir", str(running.data_dir.root)])

    assert told.exit_code == 1, told.output
    assert "not all loads have ended" in told.stderr
    running.kill()  # a stop would wait for the load
