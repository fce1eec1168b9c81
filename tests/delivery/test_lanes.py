from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.delivery import lanes as lanes_module
from sluicegate.delivery.backlog import slots_of
from sluicegate.delivery.breaker import BreakerState
from sluicegate.delivery.flight import FlightRecord, interrupted_calls
from sluicegate.delivery.lane import Origin
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.pace import GIVE_UP_AFTER_S, GIVE_UP_ATTEMPTS
from sluicegate.delivery.settlement import Aside
from sluicegate.destinations.base import Batch
from sluicegate.destinations.outcome import Outcome
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from sluicegate.eventlog.runs import Events
from tests.delivery.lanes_harness import Harness

LIMITS = Limits(max_events=100, max_bytes=100_000, in_flight=8)
DAY_S = 24 * 3600.0


def columns(first: int, n: int, *, subjects: int = 50) -> Events:
    offsets = range(first, first + n)
    return Events.of(offsets, [f"m{o}" for o in offsets], [f"s{o % subjects}" for o in offsets], [b"{}"] * n)


def filled(n: int, limits: Limits = LIMITS) -> Lanes:
    lanes = Lanes(0, limits, random=lambda: 0.5)
    lanes.add(bytes(n), columns(1, n))
    return lanes


def test_few_events_go_out_in_one_call() -> None:
    lanes = filled(60)

    works = lanes.next_batches(0.0)

    assert [len(work.batch) for work in works] == [60]


def test_many_events_go_out_in_as_many_calls_as_fill_up() -> None:
    lanes = Lanes(0, LIMITS, random=lambda: 0.5)
    # A subject an event: shares of the slots are even enough then, whatever the hashes are in this process.
    lanes.add(bytes(350), columns(1, 350, subjects=350))

    works = lanes.next_batches(0.0)

    assert len(works) == 4
    assert sum(len(work.batch) for work in works) > 300


def test_never_more_calls_than_may_be_in_flight() -> None:
    lanes = Lanes(0, LIMITS, random=lambda: 0.5)
    # So many subjects that no call is left without, whatever their hashes are in this process.
    lanes.add(bytes(1_600), columns(1, 1_600, subjects=1_600))

    assert len(lanes.next_batches(0.0)) == 8
    assert lanes.next_batches(10.0) == []


def test_fast_vendor_gets_one_call_at_a_time() -> None:
    lanes = filled(350)
    for work in lanes.next_batches(0.0):
        lanes.complete(work, None, now=0.001)
    lanes.add(bytes(600), columns(351, 600))

    assert len(lanes.next_batches(0.002)) == 1


def test_few_events_wait_for_company_while_a_call_runs_but_not_long() -> None:
    lanes = filled(10)
    lanes.next_batches(0.0)
    lanes.add(bytes(10), Events.of(range(11, 21), ["m"] * 10, [f"new {n}" for n in range(10)], [b"{}"] * 10))

    assert lanes.next_batches(0.001) == []
    due = lanes.next_due(0.001)
    assert due == pytest.approx(0.025)
    assert len(lanes.next_batches(due)) == 1


def test_call_that_leaves_out_what_went_before_is_noted_event_by_event(tmp_path: Path) -> None:
    limits = Limits(max_events=2, in_flight=2)
    one, other = (next(s for s in map(str, range(10_000)) if slots_of([s])[0] % 2 == odd) for odd in (0, 1))
    subjects = [one, one, one, other, one]
    lanes = Lanes(0, limits)
    lanes.add(bytes(5), Events.of(range(1, 6), [f"m{o}" for o in range(1, 6)], subjects, [b"{}"] * 5))
    first = lanes.next_batches(0.0)
    for work in first:
        lanes.complete(work, None, now=1.0)

    (work,) = lanes.next_batches(1.0)
    FlightRecord(tmp_path / "x.calls", epoch=1, limits=limits).began(work)
    _, (call,) = interrupted_calls(tmp_path / "x.calls")

    assert [one.batch.offsets for one in first] == [[1, 2], [4]]
    assert (work.batch.offsets, list(call.offsets or ())) == ([3, 5], [3, 5])


def test_failed_batch_is_sent_again_unchanged_after_its_backoff() -> None:
    lanes = filled(3)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Retry("busy"), now=1.0)

    assert lanes.next_batches(1.0) == []
    assert lanes.next_due(1.0) == 1.5
    (again,) = lanes.next_batches(1.5)
    assert again.batch.offsets == work.batch.offsets
    assert (work.batch.attempt, again.batch.attempt) == (1, 2)


def test_backoff_doubles_to_its_cap() -> None:
    lanes = filled(1)
    now, waits = 0.0, []
    for _ in range(12):
        (work,) = lanes.next_batches(now)
        lanes.complete(work, Retry("too many").answered(429), now=now)  # which no breaker minds
        waits.append(lanes.next_due(now) - now)
        now = lanes.next_due(now)

    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 150.0


def test_retry_after_wins_over_backoff_and_holds_new_calls_too() -> None:
    lanes = filled(3)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Retry("slow down", after_s=60.0), now=0.0)
    lanes.add(bytes(3), Events.of([4, 5, 6], ["m"] * 3, ["x", "y", "z"], [b"{}"] * 3))

    assert lanes.next_batches(59.0) == []
    assert lanes.next_due(59.0) == 60.0
    assert len(lanes.next_batches(60.0)) == 1
    assert len(lanes.next_batches(60.1)) == 1


def test_retry_after_holds_what_failed_before_and_replayed_letters_too() -> None:
    lanes = filled(60, Limits(max_events=30, in_flight=2))
    first, second = lanes.next_batches(0.0)
    lanes.complete(first, Retry("503").answered(503), now=0.0)
    lanes.complete(second, Retry("slow down", after_s=600.0).answered(429), now=0.0)
    lanes.add_replays(columns(1, 1))

    assert lanes.next_batches(599.0) == []
    assert lanes.next_due(599.0) == 600.0
    assert lanes.next_batches(600.0)


def test_retry_after_holds_released_events_too() -> None:
    lanes = filled(1)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, Retry("slow down", after_s=600.0).answered(429), now=0.0)
    lanes.release(columns(2, 1), Origin.HELD)

    assert lanes.next_batches(1.0) == []
    assert lanes.next_due(1.0) == 600.0


def test_retry_after_holds_the_probe_of_an_open_breaker_too() -> None:
    lanes = filled(100, Limits(max_events=100, in_flight=1))
    now = 0.0
    while lanes.breaker.state is not BreakerState.OPEN:
        for work in lanes.next_batches(now):
            asked = 1_800.0 if lanes.breaker.failures[0] == 9 else None
            lanes.complete(work, Retry("503", after_s=asked).answered(503), now=now)
        now = lanes.next_due(now)

    assert lanes.next_due(now) > 1_800.0
    assert lanes.next_batches(lanes.breaker.until) == []
    assert len(lanes.next_batches(lanes.next_due(now))) == 1


@pytest.mark.parametrize(("asked", "waited"), [(1e9, 3600.0), (-5.0, 0.5), (float("nan"), 0.5), (float("inf"), 0.5)])
def test_retry_after_is_capped_and_nonsense_is_ignored(asked: float, waited: float) -> None:
    lanes = filled(1)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Retry("no", after_s=asked), now=0.0)

    assert lanes.next_due(0.0) == waited


class _OwnRetry(Retry):
    def __init__(self) -> None:
        Exception.__init__(self, "busy")


class _OwnRejected(Rejected):
    def __init__(self) -> None:
        Exception.__init__(self, "bad")


def test_errors_of_a_plugin_may_leave_out_what_their_base_says() -> None:
    lanes = filled(1)
    (work,) = lanes.next_batches(0.0)
    lanes.complete(work, _OwnRetry(), now=0.0)
    due = lanes.next_due(0.0)
    (again,) = lanes.next_batches(due)
    lanes.complete(again, _OwnRejected(), now=due)

    assert due == 0.5
    assert [one.reason for one in lanes.progress().dead] == ["bad"]


def test_retry_after_that_is_a_text_is_ignored() -> None:
    lanes = filled(1)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Retry("no", after_s="120"), now=0.0)  # type: ignore[arg-type]

    assert lanes.next_due(0.0) == 0.5


def test_one_bad_event_of_a_hundred_costs_at_most_fourteen_more_calls() -> None:
    for bad in range(1, 101):
        harness = Harness(
            lambda batch, _, bad=bad: Rejected("400") if bad in batch.offsets else None,  # type: ignore[misc]
            limits=Limits(max_events=100),
            subjects=["one"] * 100,
        )

        total = harness.run()

        assert (total.cursor, total.delivered, [one.offset for one in total.dead]) == (100, 99, [bad])
        assert len(harness.calls) <= 1 + 14


def test_named_events_are_dead_and_the_rest_delivered() -> None:
    lanes = filled(4)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Rejected({1: "no user", 3: "too old"}), now=0.0)
    progress = lanes.progress()

    assert progress.delivered == 2
    assert [(one.offset, one.reason) for one in progress.dead] == [(2, "no user"), (4, "too old")]


def test_rest_is_sent_again_when_nothing_was_stored() -> None:
    lanes = filled(4)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Rejected({0: "bad"}, rest_delivered=False), now=0.0)
    (again,) = lanes.next_batches(0.0)

    assert again.batch.offsets == [2, 3, 4]


@pytest.mark.parametrize(
    "reasons", [{}, {7: "there is no such event"}, {-1: "nor this"}, {"1": "a key of an answer"}, ["only the reason"]]
)
def test_rejection_that_makes_no_sense_counts_as_retry(reasons: Any) -> None:
    lanes = filled(3)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Rejected(reasons, rest_delivered=False), now=0.0)

    assert lanes.next_due(0.0) == 0.5
    assert len(lanes.progress()) == 0


def test_refused_credentials_halt_everything_and_kill_nothing() -> None:
    lanes = filled(1_000)
    works = lanes.next_batches(0.0)

    lanes.complete(works[0], CredentialsRefused("401"), now=1.0)
    lanes.complete(works[1], None, now=1.0)

    assert lanes.halted == "401"
    assert lanes.next_batches(1e6) == []
    assert not lanes.progress().dead


def test_event_is_given_up_after_a_day_and_eight_attempts_and_not_before() -> None:
    harness = Harness(lambda batch, now: Retry("500"), limits=Limits(in_flight=1), subjects=["a"])

    total = harness.run(max_s=2 * DAY_S)

    (dead,) = total.dead
    assert dead.last_attempt - dead.first_attempt >= GIVE_UP_AFTER_S
    assert dead.attempts >= GIVE_UP_ATTEMPTS
    assert "500" in dead.reason


def test_event_that_breaks_the_vendor_is_isolated_and_the_others_are_delivered() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if 30 in batch.offsets else None, limits=Limits(), subjects=["one"] * 60
    )

    total = harness.run(max_s=2 * DAY_S)

    assert [one.offset for one in total.dead] == [30]
    assert total.delivered == 59


@pytest.mark.parametrize("limits", [Limits(max_events=5, in_flight=1), Limits(max_events=50, in_flight=4)])
def test_two_events_that_break_the_vendor_hold_up_others_for_a_while_and_not_for_ever(limits: Limits) -> None:
    sick = {500, 900}
    harness = Harness(
        lambda batch, now: None if sick.isdisjoint(batch.offsets) else Retry("500"),
        limits=limits,
        subjects=[f"s{n % 3_000}" for n in range(20_000)],
    )

    harness.run(max_s=3_600.0)
    soon = len(harness.delivered)
    total = harness.run(max_s=3 * DAY_S)

    assert soon > 18_000
    assert (total.cursor, {one.offset for one in total.dead}) == (20_000, sick)


def test_two_events_that_break_the_vendor_do_not_hold_up_what_lies_too_far_behind_them_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "MAX_SPAN", 500)
    one, two, others = (next(s for s in map(str, range(10_000)) if slots_of([s])[0] == slot) for slot in range(3))
    harness = Harness(
        lambda batch, now: None if {1, 2}.isdisjoint(batch.offsets) else Retry("500"),
        limits=Limits(max_events=50, in_flight=4),
        subjects=[one, two] + [others] * 2_000,
    )

    total = harness.run(max_s=3 * DAY_S)

    assert (total.cursor, {one.offset for one in total.dead}) == (2_002, {1, 2})


def test_vendor_that_fails_for_every_tenth_event_gets_all_others() -> None:
    sick = set(range(3, 300, 10))
    harness = Harness(
        lambda batch, now: None if sick.isdisjoint(batch.offsets) else Retry("500"),
        limits=Limits(max_events=50, in_flight=4),
        subjects=[f"s{n}" for n in range(3_000)],
    )

    total = harness.run(max_s=6 * DAY_S)

    assert (total.cursor, {one.offset for one in total.dead}) == (3_000, sick)


def test_events_that_fail_alone_after_having_waited_do_not_keep_others_from_being_released() -> None:
    lanes = Lanes(0, Limits(max_events=1, in_flight=1), random=lambda: 0.0)
    for n in range(1, 5):
        lanes.release(columns(n, 1), Origin.HELD)
    before, now = lanes.n_released, 0.0

    for _ in range(60):
        for work in lanes.next_batches(now):
            lanes.complete(work, Retry("500"), now=now)
        now = max(now, min(lanes.next_due(now), now + 3600))

    assert (before, lanes.n_released) == (4, 0)


def test_long_outage_kills_at_most_a_trickle() -> None:
    harness = Harness(
        lambda batch, now: Retry("down") if now < 2 * DAY_S else None, limits=LIMITS, subjects=["a", "b"] * 2_000
    )

    total = harness.run(max_s=4 * DAY_S)

    assert total.cursor == 4_000
    # after the first day at most one event per lane and 5 minutes of backoff (half of it on average) is given up
    assert len(total.dead) < 2 * 8 * 300 * 2
    assert harness.calls[-1][0] < 2 * DAY_S + 3600


def test_replayed_letters_are_told_apart_and_keep_out_of_the_order() -> None:
    lanes = filled(0)
    lanes.add_replays(Events.of([71, 72, 73], ["a", "b", "c"], ["a", "b", "c"], [b"{}"] * 3))
    assert lanes.letters == {71, 72, 73}
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Rejected({1: "still bad"}), now=0.0)
    assert lanes.has_replayed
    settled = lanes.aside(Origin.LETTERS)

    assert settled.delivered == [71, 73]
    assert [(one.offset, one.reason) for one in settled.dead] == [(72, "still bad")]
    assert len(lanes.progress()) == 0
    assert not (lanes.has_replayed or lanes.letters)


def test_replay_never_exceeds_the_calls_in_flight() -> None:
    lanes = filled(10, Limits(in_flight=1))
    (work,) = lanes.next_batches(0.0)
    lanes.add_replays(Events.of([1], ["a"], ["a"], [b"{}"]))

    assert lanes.next_batches(0.0) == []
    lanes.complete(work, None, now=0.1)
    assert len(lanes.next_batches(0.1)) == 1


def test_read_ahead_is_bounded_in_events_and_bytes() -> None:
    lanes = Lanes(0, Limits(max_events=10, max_bytes=100, in_flight=2))

    lanes.add(bytes(4), Events.of(range(1, 5), ["m"] * 4, ["s"] * 4, [b"x" * 100] * 4))
    assert not lanes.wants_more

    lanes = Lanes(0, Limits(max_events=10, max_bytes=10_000, in_flight=2))
    lanes.add(bytes(40), columns(1, 40))
    assert not lanes.wants_more


def test_events_of_other_subjects_pass_a_batch_that_backs_off() -> None:
    harness = Harness(
        lambda batch, now: Retry("500") if 1 in batch.offsets and now < 1_000 else None,
        limits=Limits(max_events=10, in_flight=4),
        subjects=["poison", *[f"s{n}" for n in range(199)]],
    )

    harness.run(max_s=900)

    assert len(harness.delivered) > 60
    assert harness.total.cursor == 0


@pytest.mark.parametrize("seed", range(5))
def test_fifty_subjects_keep_their_order_through_500_500_200(seed: int) -> None:
    random = Random(seed)
    subjects = [f"s{n % 50}" for n in range(50 * 40)]
    answers: dict[tuple[int, ...], int] = {}

    def vendor(batch: Batch, now: float) -> BaseException | None:
        key = tuple(batch.offsets)
        answers[key] = answers.get(key, 0) + 1
        return Retry("500") if answers[key] < 3 else None

    harness = Harness(vendor, limits=LIMITS, subjects=subjects, duration_s=lambda: random.random(), seed=seed)

    total = harness.run()

    assert total.delivered == total.cursor == 2_000
    by_subject: dict[str, list[int]] = {}
    for offset in harness.delivered:
        by_subject.setdefault(subjects[offset - 1], []).append(offset)
    assert all(offsets == sorted(offsets) and len(offsets) == 40 for offsets in by_subject.values())


def test_outcome_settles_each_event_as_it_says() -> None:
    lanes = filled(5)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Outcome({1: "bad"}, {0: "filtered", 3: "filtered"}, status=400, response="no"), now=0.1)
    progress = lanes.progress()

    assert (progress.cursor, progress.delivered, progress.denied) == (5, 2, {"filtered": 2})
    assert [(one.offset, one.reason, one.status, one.response) for one in progress.dead] == [(2, "bad", 400, "no")]
    assert lanes.idle


def test_events_wanted_again_for_a_reason_wait_and_keep_their_history() -> None:
    lanes = filled(4)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Outcome(again=frozenset({1, 2}), reason="slow down", after_s=7.0, status=429), now=0.1)

    assert lanes.progress().cursor == 1
    assert lanes.next_batches(7.0) == []
    (again,) = lanes.next_batches(7.2)
    assert (again.batch.offsets, again.batch.attempt) == ([2, 3], 2)
    lanes.complete(again, None, now=7.3)
    assert lanes.progress().cursor == 4


def test_events_wanted_again_without_a_reason_go_at_once() -> None:
    lanes = filled(3)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Outcome({0: "bad"}, again=frozenset({1, 2})), now=0.1)

    (again,) = lanes.next_batches(0.1)
    assert again.batch.offsets == [2, 3]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({7: "not there"}),
        Outcome({0: "bad"}, {0: "filtered"}),
        Outcome(again=frozenset({0, 1, 2})),
        Outcome({"0": "of JSON"}),  # type: ignore[dict-item]
        Outcome(again=frozenset({None}), reason="busy"),  # type: ignore[arg-type]
        Rejected({"0": "of JSON", 1: "bad"}),  # type: ignore[dict-item]
        Rejected(["bad"]),  # type: ignore[arg-type]
        Outcome({0.0: "bad", None: "bad"}),  # type: ignore[dict-item]
    ],
)
def test_outcome_that_makes_no_sense_is_a_failed_call(outcome: Outcome | Rejected) -> None:
    lanes = filled(3)
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, outcome, now=0.1)

    assert lanes.progress().cursor == 0
    assert lanes.next_batches(0.1) == []
    (again,) = lanes.next_batches(10.0)
    assert again.batch.offsets == [1, 2, 3]


def test_replayed_letter_that_is_not_for_the_destination_is_told_apart() -> None:
    lanes = filled(0)
    lanes.add_replays(Events.of([71, 72], ["a", "b"], ["a", "b"], [b"{}"] * 2))
    (work,) = lanes.next_batches(0.0)

    lanes.complete(work, Outcome(skipped={1: "filtered"}), now=0.0)

    assert lanes.has_replayed
    assert lanes.aside(Origin.LETTERS) == Aside(delivered=[71], denied={72: "filtered"}, versions={71: 0, 72: 0})
    assert not (lanes.has_replayed or lanes.letters)


@given(
    subjects=st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
    seed=st.integers(0, 2**32),
)
def test_order_per_subject_holds_whatever_is_wanted_again(subjects: list[str], seed: int) -> None:
    random = Random(seed)
    seen: list[int] = []

    def vendor(batch: Batch, now: float) -> Outcome:
        first_failed = random.randrange(1, len(batch) + 1)
        seen.extend(batch.offsets[:first_failed])
        again = frozenset(range(first_failed, len(batch)))
        return Outcome(again=again, reason=random.choice(["", "busy"]) if again else "")

    harness = Harness(vendor, limits=Limits(max_events=7, in_flight=3), subjects=list(subjects), seed=seed)
    total = harness.run(max_s=1e6)

    assert total.delivered == len(subjects)
    for subject in set(subjects):
        mine = [offset for offset in seen if subjects[offset - 1] == subject]
        assert mine == sorted(mine)
