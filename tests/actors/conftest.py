"""A real actor system for each test that asks for one, and proof that nothing of it is left afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluicegate.actors import processes
from sluicegate.actors.system import RunningSystem, free_port, start


@dataclass(slots=True)
class Started:
    """A running system and what others need to reach it."""

    system: RunningSystem
    port: int
    key: bytes
    log_path: Path

    def restart(self) -> RunningSystem:
        """The system again, at the same port."""
        self.system = start(port=self.port, key=self.key, log_path=self.log_path)
        return self.system


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    port, key, log_path = free_port(), os.urandom(32), tmp_path / "actors.log"
    before = processes.children(os.getpid())
    running = Started(start(port=port, key=key, log_path=log_path), port, key, log_path)

    yield running

    session = running.system.admin_pid
    running.system.stop()
    assert processes.tree(session) == []
    assert processes.children(os.getpid()) == before
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
