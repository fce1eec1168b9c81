from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config.model import LogConfig
from sluicegate.eventlog.space import FreeSpace
from tests.faults.conftest import Tally
from tests.faults.small_disk import run_on_small_disk
from tests.gateway.harness import RunningGateway, batch, make_config

GIB = 1 << 30
RECOVERY_S = 10.0


@pytest.fixture(scope="module")
def gateway_on_small_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_on_small_disk(tmp_path_factory.mktemp("disk"), "tests.faults.f14_gateway")


def test_gateway_refuses_before_the_disk_is_full_and_takes_events_again(
    gateway_on_small_disk: dict[str, Any], tally: Tally
) -> None:
    low = gateway_on_small_disk["low"]

    assert low["refused"][:2] == [503, "disk_low"]
    assert 1 <= int(low["refused"][2]) <= 5
    assert set(low["more"]) == {503}
    assert low["ready"][0] == 503 and "MiB free" in low["ready"][1]
    assert low["again"] == 200
    assert low["recovered_s"] <= RECOVERY_S
    assert (low["check"], low["fatal"]) == ("ok", True)
    tally(low["taken"], low["stored"])


def test_full_disk_is_503_and_never_200_and_passes(gateway_on_small_disk: dict[str, Any], tally: Tally) -> None:
    full = gateway_on_small_disk["full"]

    assert full["refused"][:2] == [503, "log_unavailable"]
    assert full["ready"][0] == 503 and "disk is full" in full["ready"][1]
    assert full["again"] == 200
    assert full["recovered_s"] <= RECOVERY_S
    assert (full["check"], full["fatal"]) == ("ok", True)
    tally(full["taken"], full["stored"])


def test_system_on_a_nearly_full_disk_delivers_and_makes_room_by_itself(tmp_path: Path) -> None:
    found = run_on_small_disk(tmp_path, "tests.faults.f14_system")

    assert found["again"] == 200
    assert found["others"] == [503]
    assert found["expired"] == 0
    assert found["taken"] > 10


def test_full_disk_ends_no_process_that_counts_in_mapped_memory(tmp_path: Path) -> None:
    found = run_on_small_disk(tmp_path, "tests.faults.f14_mapped")

    assert found == {"decides": "No space left on device", "suppressed": 3, "decides_again": "yes"}


class Disk:
    """Answers as statvfs does, and counts how often."""

    def __init__(self, free_bytes: int, *, total_bytes: int = 100 * GIB) -> None:
        self.free_bytes = free_bytes
        self.total_bytes = total_bytes
        self.n_asked = 0

    def __call__(self, folder: Path) -> os.statvfs_result:
        self.n_asked += 1
        blocks = self.total_bytes // 4096
        free = self.free_bytes // 4096
        return os.statvfs_result((4096, 4096, blocks, free, free, 1, 1, 1, 0, 255))


@pytest.mark.parametrize(
    ("free_bytes", "total_bytes", "is_low"),
    [
        (5 * GIB, 100 * GIB, False),
        (5 * GIB - 4096, 100 * GIB, True),
        (GIB // 2, 2 * GIB, False),
        (GIB // 2 - 4096, 2 * GIB, True),
    ],
)
def test_greater_of_size_and_part_of_the_disk_counts(free_bytes: int, total_bytes: int, is_low: bool) -> None:
    space = FreeSpace(Path("/data"), LogConfig(), statvfs=Disk(free_bytes, total_bytes=total_bytes))

    assert (space.problem(0.0) is not None) == is_low


def test_disk_is_looked_at_once_a_second() -> None:
    disk = Disk(100 * GIB)
    space = FreeSpace(Path("/data"), LogConfig(), statvfs=disk)
    for tick in range(100):
        space.problem(tick / 100)
    disk.free_bytes = 0

    before, after = space.problem(0.999), space.problem(1.0)

    assert disk.n_asked == 2
    assert (before is None, after is None) == (True, False)


def test_disk_is_looked_at_again_before_much_is_taken() -> None:
    disk = Disk(6 * GIB)
    space = FreeSpace(Path("/data"), LogConfig(), statvfs=disk)
    space.problem(0.0)
    disk.free_bytes = 0

    little, much = space.taking(GIB // 4), space.taking(1)

    assert (little is None, much is None) == (True, False)


def test_disk_that_cannot_be_asked_takes_nothing(tmp_path: Path) -> None:
    space = FreeSpace(tmp_path / "missing", LogConfig())

    assert "unknown" in (space.problem(0.0) or "")


def test_small_disks_can_be_allowed(tmp_path: Path) -> None:
    running = RunningGateway(make_config(tmp_path, log=LogConfig(min_free_bytes=0, min_free_percent=0)))
    client = running.client()

    answer = client.post("/v1/batch", batch("a"))

    assert answer.status == 200
    client.close()
    running.close()
