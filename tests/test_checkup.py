from __future__ import annotations

from sluicegate.scripts.checkup import Checkup, Part
from sluicegate.scripts.pulse import Patience

PARTS = (Part.ROUTER, Part.GATEWAY)


class Asked:
    """A checkup of two parts whose clock and answers are the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.questions: list[tuple[Part, str]] = []
        self.checkup = Checkup(
            Patience(every_s=5, answer_s=10, first_answer_s=10, misses=2, step_s=1),
            lambda part, question: self.questions.append((part, question)),
            clock=lambda: self.now,
        )
        self.checkup.begin(*PARTS)

    def wait(self, seconds: float) -> None:
        """Let time pass in the steps that the checkup wants, and ask who is due."""
        end = self.now + seconds
        while self.now < end:
            step = min(self.checkup.wait_s(), end - self.now)
            self.now += step
            self.checkup.waited(step)
            self.checkup.ask_due()
            self.checkup.hung()
            self.checkup.ask_due()

    def answer(self, *parts: Part) -> None:
        for part, question in self.questions:
            if part in parts:
                self.checkup.answered(question)


def test_who_answers_is_fine_and_who_does_not_is_hung() -> None:
    asked = Asked()
    asked.checkup.ask_due()

    for _ in range(20):
        asked.answer(Part.GATEWAY)
        asked.wait(1)

    assert list(asked.checkup.hung()) == [Part.ROUTER]
    assert round(asked.checkup.hung()[Part.ROUTER]) == 20


def test_answer_to_an_earlier_question_counts_and_one_to_none_does_not() -> None:
    asked = Asked()
    asked.checkup.ask_due()
    first = [question for part, question in asked.questions if part is Part.ROUTER]
    asked.wait(12)

    assert asked.checkup.answered("nobody asked that") is None
    assert asked.checkup.answered(first[0]) is Part.ROUTER
    assert Part.ROUTER not in asked.checkup.waiting_for(PARTS)


def test_part_that_was_started_again_owes_nothing_and_is_asked_at_once() -> None:
    asked = Asked()
    asked.checkup.ask_due()
    asked.wait(25)
    before = list(asked.questions)

    asked.checkup.begin(Part.ROUTER)
    asked.checkup.ask_due()

    assert list(asked.checkup.hung()) == [Part.GATEWAY]
    assert [part for part, _ in asked.questions[len(before) :]] == [Part.ROUTER]
    assert asked.checkup.answered(next(question for part, question in before if part is Part.ROUTER)) is None


def test_suspended_machine_makes_nobody_hung() -> None:
    asked = Asked()
    asked.checkup.ask_due()

    for _ in range(3):
        asked.now += 3_600
        asked.checkup.waited(1)
        asked.checkup.ask_due()

    assert asked.checkup.hung() == {}


def test_parts_that_answer_cost_a_question_every_few_seconds() -> None:
    asked = Asked()
    asked.checkup.ask_due()

    for _ in range(60):
        asked.answer(*PARTS)
        asked.wait(1)

    assert len(asked.questions) <= len(PARTS) * (1 + 60 / 5)
