from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected
from sluicegate.testing.disk import FaultyDisk
from tests.delivery.world import World
from tests.doubles.vendor import Vendor
from tests.faults.conftest import Tally


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.unregister()


@pytest.fixture
def world(tmp_path: Path, disk: FaultyDisk) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    disk.full = False
    world.close()


def fails_to_commit(world: World) -> bool:
    assert world.worker is not None
    return "disk is full" in (world.worker.snapshot().error or "")


def test_cursor_that_cannot_be_written_stays_and_nothing_is_skipped(
    world: World, disk: FaultyDisk, tally: Tally
) -> None:
    def fill_disk(batch: Batch) -> None:
        disk.full = "fills" in batch.message_ids

    vendor = Vendor(fill_disk)
    world.start(vendor)
    world.append("before")
    world.wait_caught_up()
    world.append("fills")
    world.wait(lambda: fails_to_commit(world))
    during = world.state()

    disk.full = False
    world.append("after")
    world.wait_caught_up()

    assert (during.cursor, during.delivered) == (1, 1)
    assert vendor.events == ["before", "fills", "after"]
    assert world.state().cursor == 3
    tally(3, world.state().delivered)


def test_dead_letter_that_cannot_be_written_holds_the_cursor_and_is_written_once_later(
    world: World, disk: FaultyDisk, tally: Tally
) -> None:
    def reject(batch: Batch) -> None:
        if "bad" in batch.message_ids:
            disk.full = True
            raise Rejected({batch.message_ids.index("bad"): "no"})

    vendor = Vendor(reject)
    world.start(vendor)
    world.append("good", "bad", "also good")
    world.wait(lambda: fails_to_commit(world))
    during = world.state()

    disk.full = False
    world.wait_caught_up()

    store = world.store()
    letters = store.letters.find("bad")
    store.close()
    state = world.state()
    assert (during.cursor, during.dead) == (0, 0)
    assert (state.cursor, state.delivered, state.dead) == (3, 2, 1)
    tally(3, state.delivered + state.dead)
    assert [letter.offset for letter in letters] == [2]


def test_worker_that_is_killed_while_the_disk_is_full_delivers_again_and_skips_nothing(
    world: World, disk: FaultyDisk
) -> None:
    def fill_disk(batch: Batch) -> None:
        disk.full = True

    world.start(Vendor(fill_disk))
    world.append("a", "b")
    world.wait(lambda: fails_to_commit(world))
    world.stop()  # cannot commit either

    disk.full = False
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == ["a", "b"]
    assert (world.state().cursor, world.state().delivered) == (2, 2)
