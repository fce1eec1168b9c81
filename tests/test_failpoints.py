from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate import failpoints
from sluicegate.errors import SluicegateError
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.failpoints import EXIT_CODE, Injected, Point
from sluicegate.testing.batches import batch_of

HITS = "from sluicegate.failpoints import Point, hit\nfor _ in range(3): hit(Point.AFTER_POST); print('passed')"


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def hit_three_times(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HITS], env=environ, capture_output=True, text=True)


def test_nothing_is_armed_without_the_variable() -> None:
    failpoints.arm({})

    assert failpoints.ARMED is None


@pytest.mark.parametrize("text", ["nowhere", "after_post:x", "after_post:1:explode", "after_post:1:exit:more"])
def test_what_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SG_FP|not a valid"):
        failpoints.parse(text)


@pytest.mark.parametrize(
    ("text", "code", "passed"),
    [
        ("after_post", EXIT_CODE, 0),
        ("after_post:2", EXIT_CODE, 1),
        ("before_commit,after_post:3:kill", -signal.SIGKILL, 2),
        ("after_post:4", 0, 3),
    ],
)
def test_armed_point_ends_the_process_at_its_time(text: str, code: int, passed: int) -> None:
    ended = hit_three_times(SG_FP=text)

    assert ended.returncode == code
    assert ended.stdout.count("passed") <= passed  # what was printed last may not have got out


def test_point_fires_once_in_all_processes_that_share_a_folder(tmp_path: Path) -> None:
    first = hit_three_times(SG_FP="after_post", SG_FP_DIR=str(tmp_path))
    second = hit_three_times(SG_FP="after_post", SG_FP_DIR=str(tmp_path))

    assert (first.returncode, second.returncode) == (EXIT_CODE, 0)
    assert int((tmp_path / "after_post").read_text()) > 1


@pytest.mark.parametrize(("point", "stored"), [(Point.BEFORE_COMMIT, 0), (Point.AFTER_COMMIT, 1)])
def test_failure_around_a_commit_leaves_all_or_nothing(tmp_path: Path, point: Point, stored: int) -> None:
    failpoints.arm({"SG_FP": f"{point}:1:raise"})
    log = SqliteLog(tmp_path / "events.db")

    with pytest.raises((Injected, SluicegateError)):
        log.append([batch_of([b"{}"])], received_at_ms=0)
    failpoints.arm({})
    again = SqliteLog(tmp_path / "events.db")

    assert again.head() == stored
    log.close()
    again.close()
