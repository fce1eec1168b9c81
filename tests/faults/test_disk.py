from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.starting import check_end
from sluicegate.testing.batches import batch_of
from sluicegate.testing.commanded_disk import Commands
from tests.faults.conftest import Tally
from tests.faults.flipping import event_at, read_everything


def append(path: Path, disk: str, n_events: int, *, synchronous: str = "FULL") -> tuple[int, list[str]]:
    """Let a process append until it has so many events or dies; its exit code, and what it said."""
    command = [sys.executable, "-m", "tests.faults.appending", disk, str(path), synchronous, str(n_events)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not result.stderr, result.stderr
    return result.returncode, result.stdout.splitlines()


def stored(lines: list[str]) -> list[int]:
    return [int(line) for line in lines if line.isdigit()]


def whole_events(path: Path) -> int:
    """How many events a log has after a restart; all of them are whole and lie side by side."""
    check_end(path, acknowledged=0)
    log = SqliteLog(path, create=False)
    outcome = read_everything(log)
    faults = log.faults()
    head = log.head()
    log.close()
    assert (outcome.damaged, faults) == (set(), [])
    assert outcome.intact == {offset: event_at(offset) for offset in range(1, head + 1)}
    return head


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def disk(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "disk")


@pytest.mark.parametrize("n_events", [1, 50, 1_500])
def test_f17_power_cut_leaves_every_stored_event(path: Path, tally: Tally, n_events: int) -> None:
    code, lines = append(path, "cutting", n_events)

    assert code == -signal.SIGKILL
    assert stored(lines) == list(range(1, n_events + 1))
    tally(n_events, whole_events(path))


def test_f17_power_cut_would_lose_events_without_full_sync(path: Path) -> None:
    code, lines = append(path, "cutting", 50, synchronous="NORMAL")

    assert code == -signal.SIGKILL
    assert len(stored(lines)) == 50
    assert whole_events(path) < 50


def test_f17_power_cuts_in_a_row_lose_nothing(path: Path, tally: Tally) -> None:
    for goal in (20, 40, 60):
        append(path, "cutting", goal)

        assert whole_events(path) == goal
    tally(goal, whole_events(path))


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 8, 13, 21, 34])
def test_f18_torn_write_costs_the_event_that_was_not_acknowledged_at_most(
    path: Path, disk: Commands, tally: Tally, nth: int
) -> None:
    append(path, str(disk.folder), 10)
    disk.arm("torn-write", at=nth)

    code, lines = append(path, str(disk.folder), 1_000)

    assert code == -signal.SIGKILL
    assert not disk.armed("torn-write")
    assert whole_events(path) == max([10, *stored(lines)])
    append(path, str(disk.folder), 1_010)
    tally(1_010, whole_events(path))


@pytest.mark.parametrize("nth", [1, 2, 7])
def test_f03_process_killed_between_insert_and_commit_leaves_a_whole_log(path: Path, disk: Commands, nth: int) -> None:
    append(path, str(disk.folder), 10)
    disk.arm("kill-at-sync", at=nth)

    code, lines = append(path, str(disk.folder), 1_000)

    acknowledged = max([10, *stored(lines)])
    assert code == -signal.SIGKILL
    assert not disk.armed("kill-at-sync")
    assert whole_events(path) - acknowledged in (0, 1)


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_f16_failed_fsync_is_never_acknowledged_or_tried_again(path: Path, disk: Commands, nth: int) -> None:
    append(path, str(disk.folder), 10)
    disk.arm("fail-sync", at=nth)

    code, lines = append(path, str(disk.folder), 1_000)

    acknowledged = stored(lines)
    (failed,) = [by for by, how in disk.syncs() if how == "failed"]
    its_syncs = [how for by, how in disk.syncs() if by == failed]
    assert code == 1
    assert "fsync" in lines[-1]
    assert its_syncs == [*["ok"] * (nth - 1), "failed"]
    assert max([10, *acknowledged]) == 10 + nth - 1
    assert whole_events(path) >= 10 + nth - 1


def test_f14_full_disk_stores_nothing_and_takes_events_again_when_there_is_space(
    path: Path, disk: Commands, tally: Tally
) -> None:
    append(path, str(disk.folder), 10)
    disk.arm("full")
    command = [sys.executable, "-m", "tests.faults.appending", str(disk.folder), str(path), "FULL", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        (disk.folder / "full").unlink()
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()

    assert "the disk is full" in first
    assert stored(rest.splitlines()) == list(range(11, 21))
    tally(20, whole_events(path))


def test_commanded_disk_changes_nothing_by_itself(path: Path, disk: Commands) -> None:
    append(path, str(disk.folder), 5)

    log = SqliteLog(path)

    assert log.append([batch_of([event_at(6)])], received_at_ms=1) == [6]
    assert isinstance(log._db, apsw.Connection)
    assert {how for _, how in disk.syncs()} == {"ok"}
