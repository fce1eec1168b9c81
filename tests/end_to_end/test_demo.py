from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluicegate.actors.processes import processes
from sluicegate.scripts.demo import wait_for_end
from tests.end_to_end.harness import poll

DEMO = [sys.executable, "-m", "sluicegate.scripts.admin", "demo"]
PROMISED_S = 60
START_S = 10

CARELESS = """
from sluicegate.scripts import admin, demo
demo.CONFIG = demo.CONFIG.replace('requires = ["measurement"]', 'requires = ["necessary"]')
admin.main(["demo"])
"""
"""The demo of a system that does not ask for consent before it gives events to the CRM."""

FINAL = {
    "archive": {"accepted": 601, "delivered": 601, "held": 0, "denied": 0},
    "crm": {"accepted": 601, "delivered": 501, "held": 0, "denied": 100},
    "screen": {"accepted": 601, "delivered": 200, "held": 0, "denied": 401},
    "ads": {"accepted": 601, "delivered": 0, "held": 0, "denied": 601},
}


def balance(shown: str) -> dict[str, dict[str, int]]:
    """The accounts that the end of the story prints."""
    lines = [line.split() for line in shown.splitlines() if line.startswith("» ") and " accepted=" in line]
    pairs = {line[1]: dict(word.split("=") for word in line if re.fullmatch(r"\w+=\d+", word)) for line in lines}
    return {
        name: {key: int(counts[key]) for key in ("accepted", "delivered", "held", "denied")}
        for name, counts in pairs.items()
    }


def test_demo_shows_the_whole_story_and_balances() -> None:
    shown = subprocess.run(DEMO, capture_output=True, text=True, timeout=PROMISED_S + START_S)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert balance(shown.stdout) == FINAL
    assert "the receiver got 501 different events" in shown.stdout
    assert "balanced: 601 events" in shown.stdout
    for state in ("registered", "loading", "loaded", "draining"):
        assert state in shown.stdout
    assert "\x1b" not in shown.stdout
    crm = [line for line in shown.stdout.splitlines() if line.startswith("  crm ")]
    assert "held=100" in crm[1], "crm started before anybody had agreed"
    assert not [line for line in shown.stdout.splitlines() if line.startswith("  ads ") and "registered" not in line]


def test_demo_of_a_system_that_ignores_consent_fails_and_leaves_its_log(tmp_path: Path) -> None:
    careless = [sys.executable, "-c", CARELESS]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    shown = subprocess.run(careless, capture_output=True, text=True, timeout=PROMISED_S, env=environ)

    assert shown.returncode == 1
    assert "events went where they may not" in shown.stderr
    assert "balanced" not in shown.stdout
    (folder,) = tmp_path.glob("sluicegate-demo-*")
    assert str(folder) in shown.stderr
    assert "ready" in (folder / "serve.log").read_text()


def test_demo_on_a_terminal_shows_a_live_table() -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(DEMO, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as demo:
        os.close(theirs)
        shown = b""
        while data := _read(ours):
            shown += data
        code = demo.wait(timeout=PROMISED_S)
    os.close(ours)

    drawn = shown.decode()
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", drawn)
    assert code == 0, text
    assert re.search(r"destination +state +accepted +delivered", text)
    assert "\x1b[1A" in drawn, "nothing was drawn over what was there before"
    for state in ("registered", "loaded"):
        assert re.search(rf"crm +{state} ", text)
    assert re.search(r"crm +\w+ +601 +501 ", text)
    assert "balanced: 601 events" in text


def _read(terminal: int) -> bytes:
    """What a terminal shows next; nothing once nobody writes to it any more."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


class Kept:
    """`sluicegate demo --keep`, once it runs."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "output"
        environ = {**os.environ, "TMPDIR": str(folder)}
        with self._output.open("w") as file:
            command = [*DEMO, "--keep"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environ)
        self.curl = poll("the curl line", lambda: re.search(r"curl (.*?)/v1/track", self.text(), re.DOTALL))[0]

    def text(self) -> str:
        """What it has printed."""
        return self._output.read_text()

    def tree(self) -> set[int]:
        """The processes of the system that it runs."""
        everything = processes()
        below = {self.process.pid}
        while more := {p.pid for p in everything if p.parent in below} - below:
            below |= more
        return below - {self.process.pid}

    def close(self) -> None:
        """End it, if a test has not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)


def test_demo_that_is_kept_prints_a_curl_line_that_works(tmp_path: Path) -> None:
    demo = Kept(tmp_path)
    try:
        answer = subprocess.run(demo.curl, shell=True, capture_output=True, text=True, timeout=30)
    finally:
        demo.close()

    assert json.loads(answer.stdout) == {"success": True, "accepted": 1, "rejected": []}
    assert demo.process.returncode == 0, demo.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_demo_that_is_ended_takes_its_system_with_it(tmp_path: Path, number: signal.Signals) -> None:
    demo = Kept(tmp_path)
    tree = demo.tree()

    demo.process.send_signal(number)
    code = demo.process.wait(timeout=30)

    assert len(tree) >= 5
    poll("the end of all processes", lambda: not tree & {p.pid for p in processes() if not p.zombie})
    if number is not signal.SIGKILL:
        assert code == 0, demo.text()
        assert not list(tmp_path.glob("sluicegate-demo-*"))


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
