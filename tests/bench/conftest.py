from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluicegate.bench.processes import Helper
from sluicegate.bench.systems import Straight


@dataclass
class Receivers:
    helpers: list[Helper]
    ports: list[int]


@pytest.fixture(scope="session")
def started_receivers() -> Iterator[Receivers]:
    helpers = [Helper("receiver") for _ in range(3)]
    yield Receivers(helpers, [int(helper.answer()["port"]) for helper in helpers])
    for helper in helpers:
        helper.stop()


@pytest.fixture
def receivers(started_receivers: Receivers) -> Receivers:
    for helper in started_receivers.helpers:
        helper.ask({"do": "reset"})
    return started_receivers


@pytest.fixture
def straight(receivers: Receivers, tmp_path: Path) -> Iterator[Straight]:
    system = Straight(tmp_path, receivers.ports)
    yield system
    system.stop()
