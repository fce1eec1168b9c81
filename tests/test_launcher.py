from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest

from sluicegate.config import Config, GatewayConfig, SupervisorConfig
from sluicegate.scripts.checkup import Part
from sluicegate.scripts.launcher import Launcher


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(Config(tmp_path, GatewayConfig(), SupervisorConfig(), {}))


class Hung:
    """A process that stands for a part that does not answer."""

    def __init__(self, part: Part, launcher: Launcher, monkeypatch: pytest.MonkeyPatch, *, program: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", program])
        self.pidfd = os.pidfd_open(self.process.pid)
        self.told: list[bool] = []
        monkeypatch.setattr(launcher._checkup, "ask_due", lambda: None)
        monkeypatch.setattr(launcher._checkup, "hung", lambda: {part: 20.0})
        monkeypatch.setattr(launcher, "_collect", lambda timeout_s: None)
        monkeypatch.setattr(launcher, "_pidfds", lambda: {part: self.pidfd})
        monkeypatch.setattr(launcher, "_tell_ready", lambda: self.told.append(True))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)


def test_hung_part_that_ends_just_before_it_is_killed_is_no_error(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Hung(Part.ROUTER, launcher, monkeypatch, program="")) as router:
        router.process.wait()

        launcher._look_after()

    assert router.told == [True]


def test_gateway_that_hangs_before_its_first_answer_after_a_restart_is_killed_again(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launcher, "_gateway", Mock())

    for _ in range(2):
        with closing(Hung(Part.GATEWAY, launcher, monkeypatch, program="import time; time.sleep(60)")) as gateway:
            launcher._look_after()
            launcher._look_after()

            assert gateway.process.wait(10) == -signal.SIGKILL
            launcher._revive({gateway.pidfd})

    assert [one.getMessage() for one in caplog.records] == [
        "the gateway has not answered for 20 s; it is killed and started again"
    ] * 2


def test_dead_orphans_do_not_pile_up_while_all_parts_run(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, orphan.pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(launcher, "_gateway", Mock(pid=0))
    monkeypatch.setattr(launcher, "_system", Mock(admin_pid=0))
    monkeypatch.setattr(launcher, "_wait", set)
    monkeypatch.setattr(launcher, "_look_after", lambda: setattr(launcher, "_stopping", True))

    launcher._watch()

    with pytest.raises(ChildProcessError):
        os.waitpid(orphan.pid, os.WNOHANG)
    orphan.wait()


@pytest.fixture
def below_nohup() -> Iterator[None]:
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_hang_up_that_is_ignored_ends_no_system(launcher: Launcher, below_nohup: None) -> None:
    with launcher._catch_signals():
        signal.raise_signal(signal.SIGHUP)

    assert not launcher._stopping
