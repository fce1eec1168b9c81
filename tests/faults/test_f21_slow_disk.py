from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sluicegate.config.model import LogConfig
from sluicegate.eventlog.writer import MAX_WAITING_EVENTS
from tests.gateway.harness import Client, RunningGateway, make_config, request, track

BATCH_EVENTS = 2_500
PATIENCE_S = 60.0
EVENT = b'{"type":"track","event":"e","userId":"u","messageId":"%d-%d"}'
ALLOWED = LogConfig(min_free_bytes=0, min_free_percent=0)


class SlowDisk(apsw.VFS):
    """A disk whose syncs end when they are let, as SQLite's default VFS."""

    def __init__(self) -> None:
        self.syncing = threading.Event()
        self.done = threading.Event()
        super().__init__("slow", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return SlowFile(self, name, flags)


class SlowFile(apsw.VFSFile):
    def __init__(self, disk: SlowDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:
        self._disk.syncing.set()
        assert self._disk.done.wait(PATIENCE_S)
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[SlowDisk]:
    disk = SlowDisk()
    disk.done.set()
    yield disk
    disk.done.set()
    disk.unregister()


@pytest.fixture
def gateway(disk: SlowDisk, tmp_path: Path) -> Iterator[RunningGateway]:
    running = RunningGateway(make_config(tmp_path, log=ALLOWED))
    yield running
    disk.done.set()
    running.close()


def patient(client: Client) -> Client:
    client.socket.settimeout(PATIENCE_S)
    return client


def answered(clients: list[Client], *, timeout_s: float = 0.0) -> list[Client]:
    """Those for which an answer is there."""
    sockets = {client.socket: client for client in clients}
    readable, _, _ = select.select(list(sockets), [], [], timeout_s)
    return [sockets[socket] for socket in readable]


def test_slow_sync_delays_the_answer_and_bounds_what_waits(gateway: RunningGateway, disk: SlowDisk) -> None:
    clients = [patient(gateway.client()) for _ in range(2 + MAX_WAITING_EVENTS // BATCH_EVENTS)]
    disk.done.clear()
    disk.syncing.clear()
    clients[0].send(request("/v1/track", track("first")))
    assert disk.syncing.wait(PATIENCE_S)
    for number, client in enumerate(clients[1:]):
        events = (EVENT % (number, index) for index in range(BATCH_EVENTS))
        client.send(request("/v1/batch", b'{"batch":[%b]}' % b",".join(events)))

    early = answered(clients, timeout_s=PATIENCE_S)
    refused = [early[0].answer()]
    probe = gateway.client()
    health = probe.get("/health").status
    disk.done.set()
    others = [client.answer() for client in clients if client is not early[0]]

    refused += [answer for answer in others if answer.status != 200]
    n_batches = sum(answer.status == 200 for answer in others) - 1
    assert health == 200
    assert {answer.status for answer in refused} <= {429, 503}
    assert all(1 <= int(answer.headers["retry-after"]) <= 5 for answer in refused)
    assert n_batches * BATCH_EVENTS <= MAX_WAITING_EVENTS
    assert len(gateway.stored()) == 1 + n_batches * BATCH_EVENTS
    for client in [*clients, probe]:
        client.close()
