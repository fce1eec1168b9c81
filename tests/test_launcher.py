from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.config import Config, GatewayConfig, SupervisorConfig
from sluicegate.scripts.checkup import Part
from sluicegate.scripts.launcher import Launcher


def test_hung_part_that_ends_just_before_it_is_killed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher(Config(tmp_path, GatewayConfig(), SupervisorConfig(), {}))
    part = subprocess.Popen([sys.executable, "-c", ""])
    pidfd = os.pidfd_open(part.pid)
    part.wait()
    told: list[bool] = []
    monkeypatch.setattr(launcher._checkup, "ask_due", lambda: None)
    monkeypatch.setattr(launcher._checkup, "hung", lambda: {Part.ROUTER: 20.0})
    monkeypatch.setattr(launcher, "_collect", lambda timeout_s: None)
    monkeypatch.setattr(launcher, "_pidfds", lambda: {Part.ROUTER: pidfd})
    monkeypatch.setattr(launcher, "_tell_ready", lambda: told.append(True))

    launcher._look_after()
    os.close(pidfd)

    assert told == [True]
