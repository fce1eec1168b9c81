"""Asking the parts of a system whether they answer: who is due, who has answered, who is hung."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from uuid import uuid4

from sluicegate.scripts.pulse import Patience, Pulse, RunningTime


class Part(StrEnum):
    """What the launcher starts, as its log names it."""

    ADMIN = "the actor system's admin process"
    SUPERVISOR = "the supervisor"
    ROUTER = "the router"
    GATEWAY = "the gateway"


ACTOR_PARTS = (Part.ADMIN, Part.SUPERVISOR, Part.ROUTER)


class Checkup:
    """Keeps a `Pulse` for each part; `ask` puts a question to one, `answered` is told of what came back."""

    def __init__(
        self, patience: Patience, ask: Callable[[Part, str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._ask = ask
        self._clock = clock
        self._time = RunningTime(clock())
        self._pulses: dict[Part, Pulse] = {}
        self._questions: dict[str, Part] = {}

    def begin(self, *parts: Part) -> None:
        """These have just been started: whatever they owed is forgotten."""
        self._questions = {id: part for id, part in self._questions.items() if part not in parts}
        for part in parts:
            self._pulses[part] = Pulse(self._patience, self._time.elapsed_s)

    def wait_s(self) -> float:
        """How long nothing has to be done."""
        return min((pulse.wait_s(self._time.elapsed_s) for pulse in self._pulses.values()), default=0.0)

    def waited(self, meant_s: float) -> None:
        """A wait that was to take at most so long is over."""
        self._time.waited(self._clock(), meant_s)

    def skip(self) -> None:
        """The launcher has been busy with something else until now."""
        self._time.skip(self._clock())

    def ask_due(self) -> None:
        """Put a question to whoever is due."""
        for part, pulse in self._pulses.items():
            if pulse.due(self._time.elapsed_s):
                self._put(part)

    def ask_all(self, parts: Iterable[Part]) -> None:
        """Put a question to each of these, due or not."""
        for part in parts:
            self._put(part)

    def _put(self, part: Part) -> None:
        question = uuid4().hex
        self._questions[question] = part
        self._pulses[part].asked(self._time.elapsed_s)
        self._ask(part, question)

    def answered(self, question: str) -> Part | None:
        """The part that has answered; None for an answer that nobody waits for."""
        part = self._questions.get(question)
        if part is not None:
            self.heard_from(part)
        return part

    def heard_from(self, part: Part) -> None:
        """A part has given a sign of life."""
        self._questions = {id: other for id, other in self._questions.items() if other is not part}
        self._pulses[part].answered(self._time.elapsed_s)

    def waiting_for(self, parts: Iterable[Part]) -> list[Part]:
        """Those of these that owe an answer."""
        return [part for part in parts if part in self._pulses and self._pulses[part].waiting]

    def hung(self) -> dict[Part, float]:
        """The parts that have owed an answer for too long, and for how long."""
        silent = {part: pulse.hung_for(self._time.elapsed_s) for part, pulse in self._pulses.items()}
        return {part: seconds for part, seconds in silent.items() if seconds is not None}
