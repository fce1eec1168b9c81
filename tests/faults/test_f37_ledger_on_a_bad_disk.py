from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.consent.requirement import State
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from sluicegate.testing.commanded_disk import Commands
from tests.faults.withdrawing import AT_MS, DATABASE, KEY


def withdraw(folder: Path, disk: str, n_subjects: int, *, synchronous: str = "FULL") -> list[int]:
    """Let a process write withdrawals until it dies; those that it was told are in force."""
    command = [sys.executable, "-m", "tests.faults.withdrawing", disk, str(folder), synchronous, str(n_subjects)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not result.stderr, result.stderr
    assert result.returncode == -signal.SIGKILL
    return [int(line) for line in result.stdout.splitlines()]


def in_force(folder: Path, n_subjects: int) -> list[int]:
    """The subjects of which the next process knows that they have withdrawn."""
    view = LedgerView(folder / DATABASE, folder / KEY, Rules())
    known = [view.of(Subject(anonymous_id=f"v{number}")) for number in range(n_subjects)]
    view.close()
    states = [one.standings(gpc=False, now_ms=AT_MS).of("measurement").state for one in known]
    return [number for number, state in enumerate(states) if state is State.DENIED]


def test_f17_power_cut_leaves_every_withdrawal_that_was_answered(tmp_path: Path) -> None:
    told = withdraw(tmp_path, "cutting", 50)

    assert told == list(range(50))
    assert in_force(tmp_path, 50) == told


def test_f17_power_cut_would_lose_withdrawals_without_full_sync(tmp_path: Path) -> None:
    withdraw(tmp_path, "cutting", 1)

    told = withdraw(tmp_path, "cutting", 50, synchronous="NORMAL")

    assert len(told) == 50
    assert len(in_force(tmp_path, 50)) < 50


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("command", ["torn-write", "kill-at-sync"])
def test_f18_torn_or_interrupted_write_costs_the_unanswered_withdrawal_at_most(
    tmp_path: Path, command: str, nth: int
) -> None:
    disk = Commands(tmp_path / "disk")
    before = withdraw(tmp_path, str(disk.folder), 10)
    disk.arm(command, at=nth)

    told = withdraw(tmp_path, str(disk.folder), 30)

    found = in_force(tmp_path, 30)
    assert set(before) | set(told) <= set(found)
    assert len(found) <= max(len(before), len(told) + 1)
    assert not disk.armed(command), "vacuous: nothing was torn or interrupted"
