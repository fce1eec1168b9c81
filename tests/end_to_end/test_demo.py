from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluicegate.scripts.demo import wait_for_end
from tests.end_to_end.harness import poll

DEMO = [sys.executable, "-m", "sluicegate.scripts.admin", "demo"]


def test_demo_shows_the_whole_story_and_balances() -> None:
    shown = subprocess.run(DEMO, capture_output=True, text=True, timeout=120)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "balanced: 501 events" in shown.stdout
    for state in ("registered", "loading", "loaded", "draining"):
        assert state in shown.stdout


def test_demo_that_is_kept_prints_a_curl_line_that_works(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        demo = subprocess.Popen([*DEMO, "--keep"], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        found = poll("the curl line", lambda: re.search(r"curl (.*?)/v1/track", output.read_text(), re.DOTALL))
        answer = subprocess.run(found[0], shell=True, capture_output=True, text=True, timeout=30)
    finally:
        demo.send_signal(signal.SIGINT)
        code = demo.wait(timeout=30)

    assert json.loads(answer.stdout) == {"success": True, "accepted": 1, "rejected": []}
    assert code == 0, output.read_text()


def test_ctrl_c_is_heard_whichever_thread_takes_it() -> None:
    taker = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    with subprocess.Popen(["sleep", "5"]) as process:
        soon = threading.Timer(0.3, taker.start)
        soon.start()
        with pytest.raises(KeyboardInterrupt):
            wait_for_end(process)
        runs_on = process.poll() is None
        process.kill()
    taker.join()
    assert runs_on
