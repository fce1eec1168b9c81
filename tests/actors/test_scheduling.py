from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.actors.scheduling import NICENESS, SLICE_S

STAND_BACK = """
import os, sys, threading
from pathlib import Path
from sluicegate.actors.scheduling import stand_back
os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
before = os.nice(0)
stand_back()
def look():
    print(os.nice(0) - before, os.sched_getscheduler(0), Path("/proc/thread-self/sched").read_text())
thread = threading.Thread(target=look)
thread.start()
thread.join()
"""

ROOM = """
import os, threading
from sluicegate.actors.scheduling import Room
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
room = Room()
def look():
    print(*(sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")), sep=";")
look()
room.leave(True)
look()
room.leave(False)
look()
done.set()
"""


def _affinities() -> list[list[set[int]]]:
    """The processors that each thread of a process may use: at first, leaving one, and using all again."""
    run = subprocess.run([sys.executable, "-c", ROOM], capture_output=True, text=True, check=True)
    return [[set(json.loads(one)) for one in line.split(";")] for line in run.stdout.splitlines()]


def test_one_processor_is_left_to_others_by_every_thread_and_taken_again() -> None:
    ours = os.sched_getaffinity(0)
    if len(ours) < 2:
        pytest.skip("there is only one processor")

    assert _affinities() == [[ours] * 2, [ours - {max(ours)}] * 2, [ours] * 2]


def test_process_that_has_one_processor_keeps_it() -> None:
    ours = os.sched_getaffinity(0)
    one = {min(ours)}
    try:
        os.sched_setaffinity(0, one)
        found = _affinities()
    finally:
        os.sched_setaffinity(0, ours)

    assert found == [[one] * 2] * 3


def _told(policy: int = os.SCHED_OTHER) -> tuple[int, int, str]:
    """What a thread says that was started after that: niceness on top, policy, the kernel's own words."""
    run = subprocess.run(
        [sys.executable, "-c", STAND_BACK, str(policy)],
        capture_output=True,
        text=True,
        check=True,
    )
    nicer, found, text = run.stdout.split(maxsplit=2)
    return int(nicer), int(found), text


@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE])
def test_niceness_is_added_and_the_policy_stays_as_it_is(policy: int) -> None:
    nicer, found, _ = _told(policy)

    assert (nicer, found) == (NICENESS, policy)


def test_slices_are_long_where_the_kernel_gives_them() -> None:
    release = [int(part) for part in re.findall(r"\d+", platform.release())[:2]]
    if release < [6, 12] or not Path("/proc/self/sched").exists():
        pytest.skip(f"Linux {platform.release()} gives no slices, or does not tell them")

    _, _, text = _told()

    (slice_ns,) = re.findall(r"se\.slice\s*:\s*(\d+)", text)
    assert int(slice_ns) == SLICE_S * 1e9
