from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lane import Origin, Work
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.settlement import DELIVERED, UNFINISHED
from sluicegate.errors import Rejected, Retry
from sluicegate.eventlog.runs import Events


def events_of(offsets: list[int], n_subjects: int) -> Events:
    return Events.of(
        offsets, [f"m{o}" for o in offsets], [f"s{o % n_subjects}" for o in offsets], [b"{}"] * len(offsets)
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_held=st.integers(0, 40),
    n_fresh=st.integers(0, 40),
    n_subjects=st.integers(1, 8),
    in_flight=st.integers(1, 4),
    batch=st.integers(1, 9),
)
def test_released_events_come_once_and_before_newer_ones_of_their_subject(
    seed: int, n_held: int, n_fresh: int, n_subjects: int, in_flight: int, batch: int
) -> None:
    random = Random(seed)
    lanes = Lanes(n_held, Limits(max_events=batch, in_flight=in_flight), random=random.random)
    held = list(range(1, n_held + 1))
    fresh = list(range(n_held + 1, n_held + n_fresh + 1))
    lanes.release(events_of(held, n_subjects), Origin.HELD)
    lanes.add(bytes([UNFINISHED]) * n_fresh, events_of(fresh, n_subjects))
    delivered = drive(lanes, random)

    order = defaultdict(list)
    for offset in delivered:
        order[offset % n_subjects].append(offset)
    assert sorted(delivered) == held + fresh
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert sorted(lanes.aside(Origin.HELD).delivered) == held
    assert lanes.progress().delivered == n_fresh
    assert lanes.idle


def drive(lanes: Lanes, random: Random) -> list[int]:
    """Deliver everything; calls end in any order, some fail for a while. No subject is in two calls at once."""
    running: list[Work] = []
    delivered: list[int] = []
    failures = 0
    now = 0.0
    for _ in range(5_000):
        running += lanes.next_batches(now)
        subjects = [subject for work in running for subject in set(work.lane.parts[0].events.subjects)]
        assert len(subjects) == len(set(subjects))
        if not running:
            if lanes.idle or not lanes.has_waiting:
                break
            now = min(lanes.next_due(now), now + 400.0)
            continue
        work = running.pop(random.randrange(len(running)))
        now += 0.05
        if failures < 5 and random.random() < 0.2:
            failures += 1
            lanes.complete(work, Retry("busy", after_s=0.1), now=now)
        else:
            delivered += work.batch.offsets
            lanes.complete(work, None, now=now)
    return delivered


def test_reopened_events_are_settled_where_they_stand() -> None:
    lanes = Lanes(0, Limits(max_events=10))
    lanes.add(bytes([UNFINISHED, DELIVERED, UNFINISHED]), events_of([1], 5))
    (work,) = lanes.next_batches(0.0)

    lanes.release(events_of([3], 5), Origin.LOG)
    lanes.complete(work, None, now=0.1)
    (later,) = lanes.next_batches(0.1)
    lanes.complete(later, Rejected("400"), now=0.2)

    progress = lanes.progress()
    assert (work.batch.offsets, later.batch.offsets) == ([1], [3])
    assert (progress.cursor, progress.delivered, [dead.offset for dead in progress.dead]) == (3, 2, [3])


@pytest.mark.parametrize("in_flight", [1, 4])
def test_events_that_processes_have_died_of_go_alone(in_flight: int) -> None:
    lanes = Lanes(2, Limits(max_events=10, in_flight=in_flight))

    lanes.release(events_of([1, 2], 5), Origin.HELD, careful=True)
    works = lanes.next_batches(0.0)

    assert [work.batch.offsets for work in works] == [[1]]
    assert lanes.next_batches(0.0) == []


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_events=st.integers(1, 60),
    n_subjects=st.integers(1, 6),
    in_flight=st.integers(1, 4),
    batch=st.integers(1, 9),
)
def test_reopened_events_overtake_no_older_ones_of_their_subject_that_wait(
    seed: int, n_events: int, n_subjects: int, in_flight: int, batch: int
) -> None:
    random = Random(seed)
    lanes = Lanes(0, Limits(max_events=batch, in_flight=in_flight), random=random.random)
    reopened = [offset for offset in range(1, n_events + 1) if random.random() < 0.4]
    fresh = [offset for offset in range(1, n_events + 1) if offset not in reopened]
    lanes.add(bytes([UNFINISHED]) * n_events, events_of(fresh, n_subjects))
    lanes.release(events_of(reopened, n_subjects), Origin.LOG)

    delivered = drive(lanes, random)

    order = defaultdict(list)
    for offset in delivered:
        order[offset % n_subjects].append(offset)
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert (len(delivered), lanes.progress().delivered, lanes.idle) == (n_events, n_events, True)
