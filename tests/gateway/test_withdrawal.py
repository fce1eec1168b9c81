from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sluicegate.consent.evidence import Told
from sluicegate.delivery.barrier import Barrier, Stopped
from sluicegate.gateway.limits import Limits
from sluicegate.gateway.withdrawal import MAX_AT_ONCE
from tests.gateway.harness import Client, RunningGateway, make_config, request
from tests.gateway.test_in_hand import until

DENIAL = {"userId": "anne", "preferences": {"marketing": False}}


class Barred:
    """Stands for destinations that confirm nothing until `confirmed`."""

    def __init__(self) -> None:
        self.confirmed = threading.Event()
        self.asked: list[Iterable[Told]] = []

    def pass_on(self, told: Iterable[Told]) -> Stopped:
        self.asked.append(told)
        self.confirmed.wait()
        return Stopped()


@pytest.fixture
def barred(monkeypatch: pytest.MonkeyPatch) -> Iterator[Barred]:
    barred = Barred()
    monkeypatch.setattr(Barrier, "pass_on", lambda self, told: barred.pass_on(told))
    yield barred
    barred.confirmed.set()


def heard(client: Client) -> bytes:
    """Everything until the gateway closes the connection."""
    try:
        return client._file.read()
    except ConnectionResetError:
        return b""


def test_stop_does_not_wait_for_denials_and_tells_those_behind_them_that_it_is_not_known(
    barred: Barred, tmp_path: Path
) -> None:
    gateway = RunningGateway(make_config(tmp_path), limits=Limits(drain_s=0.2))
    clients = [gateway.client() for _ in range(MAX_AT_ONCE + 3)]
    for client in clients:
        client.send(request("/v1/consent", DENIAL))
    behind = gateway.server._withdrawals._threads._work_queue
    until(gateway, lambda: (len(barred.asked), behind.qsize()) == (MAX_AT_ONCE, 3))

    gateway.close()

    answers = [answer for client in clients if (answer := heard(client))]
    assert [answer.split()[1] for answer in answers] == [b"202"] * 3
    assert all(b'"late":["*"]' in answer for answer in answers)
    for client in clients:
        client.close()
