from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluicegate.config.model import Config
from tests.gateway.harness import PATIENCE_S, Client, make_config, request, stored_events, track
from tests.gateway.process import GatewayProcess

Start = Callable[[Config], GatewayProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[GatewayProcess] = []

    def start_one(config: Config) -> GatewayProcess:
        started.append(GatewayProcess(config))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


def test_gateway_process_reports_serves_and_ends_in_order(start: Start, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    gateway = start(config)
    listening = gateway.told()
    before = gateway.ready()
    gateway.tell(ready=True, reasons=[])
    while (after := gateway.ready()) != 200:
        pass
    client = Client(gateway.address)
    accepted = client.post("/v1/track", track("kept"))
    client.send(request("/v1/track", track("last")))
    last = client.answer()

    gateway.process.send_signal(signal.SIGTERM)

    assert gateway.process.wait(PATIENCE_S) == 0
    assert listening == {"listening": f"127.0.0.1:{gateway.address[1]}"}
    assert (before, after, accepted.status, last.status) == (503, 200, 200, 200)
    assert [event["messageId"] for event in stored_events(config)] == ["kept", "last"]
    client.close()


def test_gateway_process_ends_with_its_launcher(start: Start, tmp_path: Path) -> None:
    gateway = start(make_config(tmp_path))
    gateway.told()

    gateway.control.shutdown(socket.SHUT_RDWR)

    assert gateway.process.wait(PATIENCE_S) == 0


def test_interrupt_of_the_terminal_does_not_end_it(start: Start, tmp_path: Path) -> None:
    gateway = start(make_config(tmp_path))
    gateway.told()

    gateway.process.send_signal(signal.SIGINT)

    assert gateway.ready() == 503
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(PATIENCE_S) == 0


def test_log_that_cannot_be_opened_is_told_and_ends_it(start: Start, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    (config.data_dir / "events.db").write_bytes(b"this is no database " * 500)

    gateway = start(config)

    assert "events.db" in gateway.told()["fatal"]
    assert gateway.process.wait(PATIENCE_S) == 1


def test_launcher_that_asks_is_answered(start: Start, tmp_path: Path) -> None:
    gateway = start(make_config(tmp_path))
    gateway.told()

    gateway.tell(ask="1")
    gateway.tell(ask="2")

    assert [gateway.told(), gateway.told()] == [{"answer": "1"}, {"answer": "2"}]


def test_unknown_words_of_the_launcher_are_ignored(start: Start, tmp_path: Path) -> None:
    gateway = start(make_config(tmp_path))
    gateway.told()

    gateway.control.sendall(b'nonsense\n[]\n{"other": 1}\n{"ready": tr')
    gateway.control.sendall(b"ue}\n")
    while gateway.ready() != 200:
        pass

    assert gateway.process.poll() is None


def test_killed_gateway_has_lost_nothing_that_it_answered_for(start: Start, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    gateway = start(config)
    client = Client(gateway.address)
    for number in range(20):
        assert client.post("/v1/track", track(f"m{number}")).status == 200

    os.kill(gateway.process.pid, signal.SIGKILL)
    gateway.process.wait(PATIENCE_S)

    assert [event["messageId"] for event in stored_events(config)] == [f"m{number}" for number in range(20)]
    client.close()
