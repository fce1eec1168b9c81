from __future__ import annotations

from sluicegate.scripts.pulse import SLACK_S, Patience, Pulse, RunningTime

PATIENCE = Patience(every_s=5, answer_s=10, first_answer_s=30, misses=2, step_s=1)


def answering(now: float) -> Pulse:
    pulse = Pulse(PATIENCE, now)
    pulse.asked(now)
    pulse.answered(now)
    return pulse


def test_part_that_answers_is_asked_every_few_seconds() -> None:
    pulse = answering(100)

    assert not pulse.due(104.9)
    assert pulse.wait_s(101) == 4
    assert pulse.due(105)


def test_part_is_asked_once_at_a_time() -> None:
    pulse = answering(100)
    pulse.asked(105)

    assert pulse.waiting
    assert not pulse.due(112)


def test_one_miss_is_forgiven_and_the_question_put_again() -> None:
    pulse = answering(100)
    pulse.asked(105)

    assert pulse.hung_for(115) is None
    assert pulse.due(115)
    pulse.asked(115)
    pulse.answered(124.9)
    assert pulse.hung_for(200) is None


def test_second_miss_in_a_row_is_hung_since_the_first_question() -> None:
    pulse = answering(100)
    pulse.asked(105)
    pulse.hung_for(115)
    pulse.asked(115)

    assert pulse.hung_for(124.9) is None
    assert pulse.hung_for(125) == 20


def test_misses_that_are_not_in_a_row_are_forgiven() -> None:
    pulse = answering(0)
    for begin in (100, 200, 300):
        pulse.asked(begin)
        assert pulse.hung_for(begin + 10) is None
        pulse.asked(begin + 10)
        pulse.answered(begin + 11)


def test_part_that_was_just_started_may_take_longer() -> None:
    pulse = Pulse(PATIENCE, 0)
    pulse.asked(0)

    assert pulse.hung_for(29) is None
    assert not pulse.due(29)
    pulse.answered(29.5)
    pulse.asked(35)
    pulse.hung_for(45)
    pulse.asked(45)
    assert pulse.hung_for(55) == 20


def test_time_while_the_machine_was_suspended_does_not_count() -> None:
    time = RunningTime(1_000.0)

    time.waited(1_001.0, 1.0)
    time.waited(9_000.0, 1.0)

    assert time.elapsed_s == 1.0 + 1.0 + SLACK_S


def test_time_spent_on_something_else_does_not_count() -> None:
    time = RunningTime(0.0)

    time.skip(60.0)
    time.waited(60.2, 1.0)

    assert round(time.elapsed_s, 6) == 0.2


def test_clock_that_goes_back_counts_nothing() -> None:
    time = RunningTime(10.0)

    time.waited(5.0, 1.0)
    time.waited(5.5, 1.0)

    assert time.elapsed_s == 0.5
