from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import Client, RunningGateway, make_config

StartGateway = Callable[..., RunningGateway]


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    started: list[RunningGateway] = []

    def start(gateway: dict[str, Any] | None = None, **options: Any) -> RunningGateway:
        started.append(RunningGateway(make_config(tmp_path, **(gateway or {})), **options))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture
def gateway(start_gateway: StartGateway) -> RunningGateway:
    return start_gateway()


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[Client]:
    connected = gateway.client()
    yield connected
    connected.close()
