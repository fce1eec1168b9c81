from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.errors import SluicegateError
from sluicegate.paths import DataDir
from sluicegate.scripts import gateway_part
from sluicegate.scripts.gateway_part import GatewayPart
from tests.gateway.harness import RunningGateway, make_config

FORKS = """
import os, signal, sys
from pathlib import Path
from sluicegate.config import Config
from sluicegate.paths import DataDir
from sluicegate.scripts import gateway_part

signal.signal(signal.SIGTERM, lambda number, frame: None)  # as the launcher's
signal.signal(signal.SIGHUP, signal.SIG_IGN)
gateway_part.die_with_parent = lambda parent: os.kill(os.getpid(), int(sys.argv[2]))
gateway_part.run = lambda *args, **options: os.kill(os.getpid(), signal.SIGHUP) or 0
config = Config.decode(Path(sys.argv[1]).read_bytes())
part = gateway_part.GatewayPart(config, DataDir(config.data_dir))
part.start()
print(os.waitstatus_to_exitcode(os.waitpid(part.pid, 0)[1]), len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
"""Prints how a gateway ends that gets a signal just after its fork, then a hang-up; and how many are blocked here."""


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayPart]:
    """A gateway that lets connect and answers nobody; this process stands for it."""
    monkeypatch.setattr(gateway_part, "ASK_S", 0.05)
    config = make_config(tmp_path)
    part = GatewayPart(config, DataDir(config.data_dir))
    part.pidfd = os.pidfd_open(os.getpid())
    yield part
    os.close(part.pidfd)
    part._socket.close()


def test_a_wish_to_stop_ends_the_wait_for_a_gateway_that_hangs(silent: GatewayPart) -> None:
    assert silent.wait_ready(timeout_s=60, stops=lambda: True) is None


def test_a_gateway_that_hangs_is_an_error_in_the_end(silent: GatewayPart) -> None:
    with pytest.raises(SluicegateError, match="did not get ready"):
        silent.wait_ready(timeout_s=0.2, stops=lambda: False)


def test_a_gateway_that_answers_is_waited_for_and_then_tells_why_it_is_not_ready(
    silent: GatewayPart, tmp_path: Path
) -> None:
    config = make_config(tmp_path, log=LogConfig(min_free_bytes=2**40))
    with closing(RunningGateway(config)) as gateway:
        silent.listening = "{}:{}".format(*gateway.address)

        why_not = silent.wait_ready(timeout_s=0.2, stops=lambda: False)

    assert why_not is not None
    assert "MiB free, less than 1048576 MiB" in why_not


def fork_gateway(folder: Path, number: int) -> list[str]:
    config = make_config(folder)
    encoded = folder / "config"
    encoded.write_bytes(config.encode())
    command = [sys.executable, "-c", FORKS, str(encoded), str(int(number))]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def test_a_gateway_that_was_just_forked_hears_the_wish_to_stop(tmp_path: Path) -> None:
    assert fork_gateway(tmp_path, signal.SIGTERM) == [str(-int(signal.SIGTERM)), "0"]


def test_a_hang_up_that_the_launcher_ignores_does_not_end_the_gateway(tmp_path: Path) -> None:
    assert fork_gateway(tmp_path, 0) == ["0", "0"]
