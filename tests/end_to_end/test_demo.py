from __future__ import annotations

import subprocess
import sys


def test_demo_shows_the_whole_story_and_balances() -> None:
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "demo"]

    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "balanced: 501 events" in shown.stdout
    for state in ("registered", "loading", "loaded"):
        assert state in shown.stdout
