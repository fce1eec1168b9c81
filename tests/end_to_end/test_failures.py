from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.harness import MakeSystem, System, track
from tests.end_to_end.plugins import WELL, install

CONFIG = """
[supervisor]
retry_delay = "100ms"
retry_cap = "{retry_cap}"
max_retries = 2
stall_timeout = "2s"
spawn_timeout = "{spawn_timeout}"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
timeout = "1s"
[destinations.broken]
timeout = "1s"
type = "{type}"
requires = ["necessary"]
test_on_load = true
"""

STATUS_S = 0.25  # it takes a few ms; a machine that is busy is not what is tested

LAKE = """
[supervisor]
retry_delay = "100ms"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.lake]
type = "objectstore"
requires = ["necessary"]
url = "file://{lake}"
batch_age = "100ms"
"""


def broken(system: MakeSystem, folder: Path, type: str, *, retry_cap: str = "1s", spawn_timeout: str = "30s") -> System:
    config = CONFIG.format(type=type, retry_cap=retry_cap, spawn_timeout=spawn_timeout)
    return system(config, environ=install(folder)).start()


def seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_plugin_that_raises_at_import_shows_its_error_and_its_events_wait(system: MakeSystem, tmp_path: Path) -> None:
    running = broken(system, tmp_path, "bad_import")

    running.post([track() for _ in range(5)])
    failed = running.until("broken", "failed", lambda s: s.error is not None)
    archive = running.until_delivered("archive", 5)

    assert "import says no" in (failed.error or "")
    assert failed.pending == 5
    assert archive.error is None


def test_failing_load_is_retried_then_quarantined_and_retry_brings_it_back(system: MakeSystem, tmp_path: Path) -> None:
    running = broken(system, tmp_path, "bad_start", retry_cap="300s")

    running.post([track()])
    quarantined = running.until("broken", "quarantined", lambda s: s.state == "quarantined")
    running.data_dir.root.joinpath("vendor-is-up").touch()
    answer = running.admin("retry", "broken")
    back = running.until_delivered("broken", 1)

    assert "the vendor is down" in (quarantined.error or "")
    assert quarantined.retry_count >= 2
    assert quarantined.pending == 1
    assert answer.returncode == 0, answer.stderr
    assert back.loaded and back.error is None


def test_missing_extra_is_permanent_names_the_command_and_retry_tries_after_the_install(
    system: MakeSystem, tmp_path: Path
) -> None:
    pytest.importorskip("obstore", reason="obstore (the extra `objectstore`) is not installed")
    hiding = tmp_path / "hiding" / "obstore.py"
    hiding.parent.mkdir()
    hiding.write_text('raise ModuleNotFoundError("No module named \'obstore\'", name="obstore")\n')
    config = LAKE.format(lake=tmp_path / "lake")
    running = system(config, environ={"PYTHONPATH": str(hiding.parent)}).start()

    running.post([track()])
    failed = running.until("lake", "failed", lambda s: s.state == "failed" and s.pid is None)
    running.post([track()])
    running.until_delivered("archive", 2)
    shown = running.admin("status").stdout
    later = running.status("lake")
    hiding.unlink()
    answer = running.admin("retry", "lake")
    back = running.until_delivered("lake", 2)

    assert "needs the module obstore" in (failed.error or "")
    assert "pip install 'sluicegate[objectstore]'" in " ".join(shown.split())
    assert (later.state, later.epoch, later.retry_count, later.next_attempt_at) == ("failed", 1, 1, None)
    assert later.pending == 2
    assert answer.returncode == 0, answer.stderr
    assert (back.state, back.error, back.reason) == ("loaded", None, None)


def test_refused_credentials_pause_until_resumed(system: MakeSystem, tmp_path: Path) -> None:
    running = broken(system, tmp_path, "bad_test")

    running.post([track()])
    paused = running.until("broken", "paused", lambda s: s.state == "paused")

    assert "the key was revoked" in (paused.reason or "")
    assert (paused.pending, paused.dead) == (1, 0)


def test_plugin_that_raises_in_deliver_shows_its_error_and_is_retried(system: MakeSystem, tmp_path: Path) -> None:
    running = broken(system, tmp_path, "bad_deliver")

    running.post([track()])
    failing = running.until("broken", "failing", lambda s: s.error is not None)
    running.until_delivered("archive", 1)

    assert "deliver has a bug" in (failing.error or "")
    assert (failing.pending, failing.dead) == (1, 0)


@pytest.mark.parametrize("type", ["hanging", "suicidal"])
def test_plugin_that_hangs_or_dies_is_replaced_and_delivers(system: MakeSystem, tmp_path: Path, type: str) -> None:
    running = broken(system, tmp_path, type)

    running.post([track() for _ in range(3)])
    after = running.until_delivered("broken", 3)
    running.until_delivered("archive", 3)

    assert after.epoch >= 2


ERRORS = {
    "hangs": "not ready within 2 s: still {doing}",
    "dies": "the process ended unexpectedly while {doing} (exit code 7)",
    "raises": "this stage has a bug",
}
DOING = {"import": "importing the plugin", "initialize": "running initialize()", "test": "running test()"}


@pytest.mark.parametrize("stage", DOING)
@pytest.mark.parametrize("deed", ERRORS)
def test_plugin_that_misbehaves_while_it_loads_tells_where_and_is_tried_again(
    system: MakeSystem, tmp_path: Path, deed: str, stage: str
) -> None:
    running = broken(system, tmp_path, f"{deed}_at_{stage}", spawn_timeout="2s")

    running.post([track() for _ in range(5)])
    wanted = ERRORS[deed].format(doing=DOING[stage])
    failed = running.until("broken", "failed twice", lambda s: s.retry_count >= 2 and wanted in (s.error or ""))
    archive = running.until_delivered("archive", 5)
    (tmp_path / "site" / WELL).touch()
    back = running.until_delivered("broken", 5)

    assert (failed.pending, failed.delivered, failed.dead) == (5, 0, 0)
    assert (archive.error, archive.epoch, archive.retry_count) == (None, 1, 0)
    assert back.epoch >= 3
    assert running.status("archive").epoch == 1


def test_stopped_process_leaves_status_answering_and_is_replaced(system: MakeSystem, tmp_path: Path) -> None:
    running = broken(system, tmp_path, "null")
    running.post([track()])
    before = running.until_delivered("broken", 1)
    assert before.pid

    os.kill(before.pid, signal.SIGSTOP)
    running.post([track()])
    took_s = min(seconds(running.statuses) for _ in range(5))
    running.until_delivered("archive", 2)
    after = running.until_delivered("broken", 2)

    assert after.epoch > before.epoch
    assert took_s < STATUS_S
