from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.delivery.flight import FlightRecord, Interrupted, interrupted_calls
from sluicegate.delivery.lane import Lane, Origin, Part, Work
from sluicegate.destinations.base import Batch
from sluicegate.eventlog.runs import Events

LIMITS = Limits(max_events=10, in_flight=3)


def work(*offsets: int, replay: bool = False, scattered: bool = False) -> Work:
    events = Events.of(offsets, [f"m{o}" for o in offsets], [f"s{o}" for o in offsets], [b"{}"] * len(offsets))
    origin = Origin.LETTERS if replay else Origin.LOG
    return Work(Lane(deque([Part(events)]), origin, scattered=scattered), Batch.of(events))


def listed(calls: list[Interrupted]) -> list[tuple[int, int, list[int] | None, bool]]:
    return [(c.first, c.last, None if c.offsets is None else list(c.offsets), c.replay) for c in calls]


def test_calls_under_way_are_found_by_the_next_process(tmp_path: Path) -> None:
    record = FlightRecord(tmp_path / "x.calls", epoch=7, limits=LIMITS)

    record.began(work(3, 4, 5))
    record.began(work(6, 9, scattered=True))
    record.began(work(1, 2, replay=True))

    epoch, calls = interrupted_calls(tmp_path / "x.calls")
    assert epoch == 7
    assert sorted(listed(calls)) == [(1, 2, [1, 2], True), (3, 5, None, False), (6, 9, [6, 9], False)]


def test_calls_that_ended_and_processes_that_stopped_leave_nothing(tmp_path: Path) -> None:
    record = FlightRecord(tmp_path / "x.calls", epoch=7, limits=LIMITS)
    first, second = work(1), work(2)
    record.began(first)
    record.began(second)

    record.ended(first)
    assert listed(interrupted_calls(tmp_path / "x.calls")[1]) == [(2, 2, None, False)]
    record.close()

    assert interrupted_calls(tmp_path / "x.calls") == (7, [])


def test_process_that_was_replaced_and_lives_on_writes_nothing_of_its_successor(tmp_path: Path) -> None:
    old = FlightRecord(tmp_path / "x.calls", epoch=1, limits=LIMITS)
    call = work(1)
    old.began(call)
    new = FlightRecord(tmp_path / "x.calls", epoch=2, limits=LIMITS)
    new.began(work(5))

    old.ended(call)

    epoch, calls = interrupted_calls(tmp_path / "x.calls")
    assert (epoch, listed(calls)) == (2, [(5, 5, None, False)])


@pytest.mark.parametrize("content", [b"", b"SG", b"x" * 500, b"SGcalls1" + b"\xff" * 20])
def test_damaged_record_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.calls").write_bytes(content)

    assert interrupted_calls(tmp_path / "x.calls")[1] == []


def test_record_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    record = FlightRecord(tmp_path / "no folder" / "x.calls", epoch=1, limits=LIMITS)
    call = work(1)

    record.began(call)
    record.ended(call)
    record.close()

    assert interrupted_calls(tmp_path / "no folder" / "x.calls") == (0, [])
