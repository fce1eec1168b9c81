from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.result import Result
from sluicegate.destinations.base import Batch
from sluicegate.errors import Retry
from sluicegate.eventlog.runs import Events
from tests.delivery.lanes_harness import Harness

AGED = Limits(max_events=10, max_bytes=1_000_000, age_s=30.0)


def added(lanes: Lanes, first: int, n_events: int) -> None:
    numbers = range(first, first + n_events)
    names = [f"m{number}" for number in numbers]
    lanes.add(bytes(n_events), Events.of(list(numbers), names, names, [b"{}"] * n_events))


def test_few_events_wait_for_more_until_their_time_is_over() -> None:
    lanes = Lanes(0, AGED)
    added(lanes, 1, 3)

    assert lanes.next_batches(100.0) == []
    assert lanes.next_due(100.0) == 130.0
    added(lanes, 4, 2)
    assert lanes.next_batches(110.0) == []
    (work,) = lanes.next_batches(130.0)

    assert work.batch.offsets == [1, 2, 3, 4, 5]


def test_full_batch_does_not_wait() -> None:
    lanes = Lanes(0, AGED)
    added(lanes, 1, 12)

    (work,) = lanes.next_batches(100.0)

    assert work.batch.offsets == list(range(1, 11))


def test_next_batch_has_a_wait_of_its_own() -> None:
    lanes = Lanes(0, AGED)
    added(lanes, 1, 12)
    (work,) = lanes.next_batches(100.0)
    lanes.complete(work, None, now=101.0)

    assert lanes.next_batches(101.0) == []
    assert lanes.next_batches(130.9) == []
    (rest,) = lanes.next_batches(131.0)

    assert rest.batch.offsets == [11, 12]


def test_batch_that_failed_does_not_wait_for_company() -> None:
    lanes = Lanes(0, AGED)
    added(lanes, 1, 10)
    (work,) = lanes.next_batches(100.0)
    lanes.complete(work, Retry("busy", after_s=2.0), now=101.0)

    (again,) = lanes.next_batches(103.0)

    assert again.batch.offsets == work.batch.offsets


def test_without_a_wait_events_go_at_once() -> None:
    lanes = Lanes(0, Limits(max_events=10))
    added(lanes, 1, 1)

    assert len(lanes.next_batches(100.0)) == 1


@given(
    n_events=st.integers(1, 60),
    n_subjects=st.integers(1, 5),
    in_flight=st.integers(1, 3),
    answers=st.lists(st.sampled_from([None, "busy"]), max_size=10),
)
def test_all_events_arrive_once_and_in_order_however_they_waited(
    n_events: int, n_subjects: int, in_flight: int, answers: list[str | None]
) -> None:
    script = iter(answers)

    def vendor(batch: Batch, now: float) -> Result:
        return Retry("busy") if next(script, None) else None

    limits = Limits(max_events=8, max_bytes=1_000_000, in_flight=in_flight, age_s=30.0)
    subjects = [f"s{number % n_subjects}" for number in range(n_events)]
    harness = Harness(vendor, limits=limits, subjects=subjects)

    harness.run(max_s=1e6)

    assert sorted(harness.delivered) == list(range(1, n_events + 1))
    for subject in range(n_subjects):
        mine = [offset for offset in harness.delivered if (offset - 1) % n_subjects == subject]
        assert mine == sorted(mine)
