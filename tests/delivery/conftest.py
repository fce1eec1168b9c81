from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.delivery import backlog
from tests.delivery.site import Site
from tests.delivery.world import World


@pytest.fixture(autouse=True)
def same_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give subjects the slots that they have in every run: two that share one by chance wait for each other."""
    monkeypatch.setattr(backlog, "hash", lambda subject: zlib.crc32(subject.encode()), raising=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("sluicegate.delivery.loop.LOOK_EVERY_S", 0.02)
    site = Site(tmp_path)
    yield site
    site.close()
