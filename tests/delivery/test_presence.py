from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from sluicegate.config.model import ConsentConfig
from sluicegate.delivery.held import HoldBounds, Holds
from sluicegate.delivery.presence import Presence, is_present
from sluicegate.delivery.settlement import HeldRow
from tests.delivery.sweeping import World

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose passes the test makes itself, and to which it is told that nobody runs."""
    monkeypatch.setattr("sluicegate.delivery.sweeper.SKIP_EVERY_S", 0.0)
    world = World(tmp_path)
    world.sweeper.set_running(())
    yield world
    world.log.close()


@pytest.fixture
def crm(idle: World) -> Iterator[BaseProcess]:
    """A process of crm that has claimed its store, in which one event waits for a decision."""
    ready = SPAWN.Event()
    process = SPAWN.Process(target=_mind_itself, args=(idle.data_dir.presence("crm"), ready))
    process.start()
    assert ready.wait(30)
    idle.append(1)
    store = idle.store("crm")
    store.claim(1)
    store.commit(1, cursor=1, held=Holds((HeldRow(1, 1, None, 1),), 0, "", HoldBounds.of(ConsentConfig())))
    store.close()
    yield process
    process.kill()
    process.join()


def _mind_itself(path: Path, ready: Event) -> None:
    presence = Presence(path)
    ready.set()
    threading.Event().wait()
    presence.close()


def test_nobody_is_present_where_nobody_ever_was(tmp_path: Path) -> None:
    assert not is_present(tmp_path / "crm.lock")
    assert list(tmp_path.iterdir()) == []


def test_a_process_is_present_while_it_is_stopped_and_until_it_dies(idle: World, crm: BaseProcess) -> None:
    path = idle.data_dir.presence("crm")
    assert crm.pid is not None
    os.kill(crm.pid, signal.SIGSTOP)
    stopped = is_present(path)

    crm.kill()
    crm.join()

    assert (stopped, is_present(path)) == (True, False)


def test_one_that_replaces_a_hung_process_need_not_wait_for_it(idle: World, crm: BaseProcess) -> None:
    presence = Presence(idle.data_dir.presence("crm"))

    presence.close()

    assert is_present(idle.data_dir.presence("crm"))


def test_store_of_a_running_destination_is_left_alone_whatever_was_told(idle: World, crm: BaseProcess) -> None:
    idle.append(3)

    idle.sweeper._pass(idle.log)
    while_it_ran = idle.state("crm")
    crm.kill()
    crm.join()
    idle.sweeper._pass(idle.log)
    after = idle.state("crm")

    assert (while_it_ran.cursor, while_it_ran.held) == (1, 1)
    assert (after.cursor, after.held) == (4, 0)
