from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lane import SPLIT_ATTEMPTS, PendingRetry
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.outcomes import REDACTED_REFUSED
from sluicegate.delivery.pace import GIVE_UP_AFTER_S
from sluicegate.delivery.recovery import Recovery, Suspect
from sluicegate.delivery.settlement import DELIVERED, UNFINISHED, Stage
from sluicegate.delivery.underway import Underway
from sluicegate.errors import Retry
from sluicegate.eventlog.runs import Events
from tests.delivery.histories import History, explore

LIMITS = Limits(max_events=10, max_bytes=100_000, in_flight=4)


def events(first: int, n: int) -> Events:
    offsets = range(first, first + n)
    return Events.of(offsets, [f"m{o}" for o in offsets], [f"s{o}" for o in offsets], [b"{}"] * n)


def recovering(*, retries: tuple[PendingRetry, ...] = (), suspects: tuple[Suspect, ...] = (), n: int = 20) -> Lanes:
    lanes = Lanes(0, LIMITS, recovery=Recovery(retries, suspects), random=lambda: 0.5)
    lanes.add(bytes(n), events(1, n))
    return lanes


def test_calls_that_a_process_died_of_are_made_again_as_they_were_and_alone() -> None:
    suspects = tuple(Suspect(offset, 1, 0, (1, offset % 2)) for offset in (2, 3, 4, 5))
    lanes = recovering(suspects=suspects)

    (first,) = lanes.next_batches(0.0)
    assert lanes.next_batches(0.0) == []
    lanes.complete(first, None, now=0.1)
    (second,) = lanes.next_batches(0.1)
    lanes.complete(second, None, now=0.2)

    assert [first.batch.offsets, second.batch.offsets] == [[2, 4], [3, 5]]
    assert sum(len(work.batch) for work in lanes.next_batches(0.2)) >= 10


def test_event_that_fails_again_and_again_and_ends_no_process_leaves_the_others_all_calls() -> None:
    lanes = recovering(suspects=(Suspect(1, 1, 0, (1, 0)),), n=1_000)
    now, n_tried = 0.0, 0
    while n_tried <= SPLIT_ATTEMPTS:
        works = lanes.next_batches(now)
        assert len(works) <= 1
        for work in works:
            n_tried += work.batch.offsets == [1]
            lanes.complete(work, Retry("500") if 1 in work.batch.offsets else None, now=now + 0.05)
        now += 1.0

    assert len(lanes.next_batches(now)) == LIMITS.in_flight


def test_after_the_second_death_events_go_out_one_by_one() -> None:
    lanes = recovering(suspects=tuple(Suspect(offset, 2, 0, (2, 0)) for offset in (1, 2, 3)))

    sizes = []
    for _ in range(4):
        (work,) = lanes.next_batches(0.0)
        sizes.append(len(work.batch))
        lanes.complete(work, None, now=0.0)

    assert sizes == [1, 1, 1, 10]


def test_event_that_two_processes_died_of_alone_is_a_dead_letter() -> None:
    lanes = recovering(suspects=(Suspect(4, 4, 2, (4, 0)),), n=5)

    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, None, now=0.0)
    progress = lanes.progress()

    assert (progress.cursor, progress.delivered) == (5, 4)
    (dead,) = progress.dead
    assert (dead.offset, dead.stage, dead.attempts) == (4, Stage.CRASHED, 4)
    assert "died twice" in dead.reason


def test_event_that_goes_redacted_is_denied_when_two_processes_died_of_it_and_not_kept() -> None:
    lanes = Lanes(0, LIMITS, recovery=Recovery((), [Suspect(1, 4, 2, (4, 0))]))

    lanes.add(bytes(2), events(1, 2).marked(b"\x01\x00"))
    progress = lanes.progress()

    assert (progress.dead, progress.denied) == ([], {REDACTED_REFUSED: 1})


def test_suspects_wait_until_all_of_their_call_have_been_read_and_others_go_on() -> None:
    lanes = Lanes(0, LIMITS, recovery=Recovery((), [Suspect(1, 1, 0, (1, 0)), Suspect(9, 1, 0, (1, 0))]))
    lanes.add(bytes(5), events(1, 5))

    (others,) = lanes.next_batches(0.0)
    lanes.complete(others, None, now=0.0)
    lanes.add(bytes(5), events(6, 5))
    (suspects,) = lanes.next_batches(0.0)

    assert others.batch.offsets == [2, 3, 4, 5]
    assert suspects.batch.offsets == [1, 9]


def test_suspects_that_are_gone_from_the_log_or_denied_by_now_hold_nothing_up() -> None:
    lanes = Lanes(0, LIMITS, recovery=Recovery((), [Suspect(offset, 1, 0, (1, 0)) for offset in (1, 2, 3)]))
    lanes.expire(1)
    lanes.add(bytes([lanes.settlement.code("no")]) + bytes(2), events(3, 2))

    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, None, now=0.0)

    assert work.batch.offsets == [3]
    assert [w.batch.offsets for w in lanes.next_batches(0.0)] == [[4]]


@pytest.mark.parametrize("end", [Lanes.lose, Lanes.expire])
def test_suspects_go_out_when_the_last_of_their_call_cannot_be_read_any_more(end: Callable[[Lanes, int], None]) -> None:
    lanes = Lanes(0, LIMITS, recovery=Recovery((), [Suspect(1, 1, 0, (1, 0)), Suspect(5, 1, 0, (1, 0))]))
    lanes.add(bytes([UNFINISHED, DELIVERED, DELIVERED, DELIVERED]), events(1, 1))

    end(lanes, 1)

    assert [work.batch.offsets for work in lanes.next_batches(0.0)] == [[1]]


def test_failed_batch_keeps_attempts_age_and_first_error_over_a_restart() -> None:
    before = recovering(n=3)
    for now in (0.0, 10.0, 100.0):
        (work,) = before.next_batches(now)
        before.complete(work, Retry(f"error at {now:g}"), now=now)
    remembered = before.retries(100.0)
    assert remembered is not None

    after = recovering(retries=tuple(remembered), n=3)
    (work,) = after.next_batches(5_000.0)
    after.complete(work, Retry("again"), now=5_000.0)
    again = after.retries(5_000.0)

    assert work.batch.offsets == [1, 2, 3]
    assert work.batch.attempt == 4
    assert again is not None
    assert [(r.attempts, r.failing_s, r.first_error) for r in again] == [(4, 100.0, "error at 0")]


def test_nothing_is_remembered_of_what_went_through() -> None:
    lanes = recovering(n=3)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, Retry("no"), now=0.0)
    assert lanes.retries(0.0)
    assert lanes.retries(0.0) is None

    (work,) = lanes.next_batches(10.0)
    lanes.complete(work, None, now=10.0)

    assert lanes.retries(10.0) == []
    assert lanes.retries(10.0) is None


def test_what_has_not_been_read_again_yet_stays_remembered() -> None:
    old = PendingRetry(0, [18, 19], 3, 7.0, 0.0, "old")
    lanes = recovering(retries=(old,), n=5)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, Retry("new"), now=0.0)

    remembered = lanes.retries(0.0)

    assert remembered is not None
    assert [one.first_error for one in remembered] == ["old", "new"]
    assert len({one.lane for one in remembered}) == 2


def test_call_of_others_is_noted_event_by_event_when_what_failed_before_lies_between_them() -> None:
    lanes = recovering(retries=(PendingRetry(0, [2], 3, 7.0, 0.0, "old"),), n=3)

    (again,) = lanes.next_batches(0.0)
    lanes.complete(again, None, now=0.0)
    (others,) = lanes.next_batches(0.0)

    assert (again.batch.offsets, others.batch.offsets) == ([2], [1, 3])
    assert others.lane.scattered


def test_age_from_before_the_restart_counts_towards_giving_up() -> None:
    old = PendingRetry(0, [1], 20, GIVE_UP_AFTER_S - 10, 0.0, "old")
    lanes = recovering(retries=(old,), n=1)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, Retry("still"), now=0.0)
    assert not lanes.progress().dead

    (work,) = lanes.next_batches(400.0)
    lanes.complete(work, Retry("still"), now=400.0)

    (dead,) = lanes.progress().dead
    assert (dead.attempts, dead.first_error) == (22, "old")


@example(seed=1, n_events=60, n_subjects=1, max_events=5, in_flight=1, killers=1)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    n_events=st.integers(1, 150),
    n_subjects=st.integers(1, 20),
    max_events=st.integers(1, 30),
    in_flight=st.integers(1, 6),
    killers=st.integers(0, 2),
)
def test_whatever_dies_with_its_process_only_the_killers_are_lost_and_the_order_holds(
    seed: int, n_events: int, n_subjects: int, max_events: int, in_flight: int, killers: int
) -> None:
    history = History.of(
        seed,
        n_events=n_events,
        n_subjects=n_subjects,
        max_events=max_events,
        in_flight=in_flight,
        killers=killers,
    )

    history.run()

    dead = {one.offset for one in history.total.dead}
    assert history.total.cursor == n_events
    assert history.deadly | history.refused <= dead
    assert set(history.stored) | dead == set(range(1, n_events + 1))
    assert not history.overtaken()


def test_histories_notice_calls_of_several_deaths_that_do_not_wait_for_each_other() -> None:
    with mock.patch.object(Underway, "_is_behind", lambda self, lane: False):
        found = next(explore(200, seed=12), None)

    assert found is not None


def test_call_that_goes_out_in_pieces_keeps_its_order_when_a_process_dies_of_one_piece() -> None:
    subjects = ["a", "b", "a", "b"]
    suspects = [Suspect(1, 2, 0, (1, 0)), Suspect(2, 3, 1, (1, 0)), Suspect(3, 3, 1, (1, 0)), Suspect(4, 2, 0, (1, 0))]
    lanes = Lanes(0, LIMITS, recovery=Recovery((), suspects))
    lanes.add(bytes(4), Events.of(range(1, 5), ["m1", "m2", "m3", "m4"], subjects, [b"{}"] * 4))

    sent = []
    for now in range(4):
        (work,) = lanes.next_batches(float(now))
        sent += work.batch.offsets
        lanes.complete(work, None, now=float(now))

    assert sent == [1, 2, 3, 4]


def test_calls_of_several_deaths_with_a_common_subject_go_out_one_after_the_other() -> None:
    subjects = ["a", "b", "c", "a", "b"]
    suspects = [Suspect(o, 1, 0, call) for o, call in ((1, (1, 0)), (2, (2, 0)), (3, (3, 0)), (4, (3, 0)), (5, (3, 0)))]
    lanes = Lanes(0, LIMITS, recovery=Recovery((), suspects))
    lanes.add(bytes(5), Events.of(range(1, 6), [f"m{o}" for o in range(1, 6)], subjects, [b"{}"] * 5))

    (first,) = lanes.next_batches(0.0)
    lanes.complete(first, Retry("busy"), now=0.0)
    (second,) = lanes.next_batches(0.0)
    lanes.complete(second, None, now=0.0)

    assert (first.batch.offsets, second.batch.offsets) == ([1], [2])
    assert lanes.next_batches(0.0) == []
    (again,) = lanes.next_batches(1e6)
    assert again.batch.offsets == [1]
    lanes.complete(again, None, now=1e6)
    assert [work.batch.offsets for work in lanes.next_batches(1e6)] == [[3, 4, 5]]


@pytest.mark.parametrize("alone", [0, 1])
def test_one_lonely_death_is_not_enough_to_blame_an_event(alone: int) -> None:
    lanes = recovering(suspects=(Suspect(1, 3, alone, (3, 0)),), n=1)

    (work,) = lanes.next_batches(0.0)

    assert work.batch.offsets == [1]
