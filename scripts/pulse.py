"""When the launcher asks a part whether it answers, and when one that does not is taken for hung: rules, no clocks.

All times are those of `RunningTime`: seconds in which the launcher itself ran, so that a machine that was suspended,
or so loaded that nobody ran, makes nobody look hung.
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK_S = 0.5
"""How much longer than it asked for a wait may take and still count in full."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a part is asked, and how long it may take; generous, for a loaded machine must restart nothing."""

    every_s: float = 5.0
    answer_s: float = 10.0
    """How long one answer may take until it counts as missed, and the question is put again."""
    first_answer_s: float = 30.0
    """The same for a part that has not answered since it was started: it may have much to read."""
    misses: int = 2
    """So many in a row, and the part is hung."""
    step_s: float = 1.0
    """How long the launcher waits at once while it waits for an answer: no step counts for much more."""


class RunningTime:
    """Seconds in which this process ran, of those that the clock shows."""

    def __init__(self, now: float) -> None:
        self._seen = now
        self.elapsed_s = 0.0

    def waited(self, now: float, meant_s: float) -> None:
        """A wait is over that was to take at most so long; what it took beyond that, this process did not run."""
        self.elapsed_s += min(max(0.0, now - self._seen), meant_s + SLACK_S)
        self._seen = now

    def skip(self, now: float) -> None:
        """What went by until now was spent on something else, and counts for nobody."""
        self._seen = now


class Pulse:
    """One part: when it is due to be asked, and whether it is hung."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._ask_at = now
        self._asked_at: float | None = None
        self._asked_first_at: float | None = None
        self._missed = 0
        self._has_answered = False

    @property
    def waiting(self) -> bool:
        """Whether an answer is owed."""
        return self._asked_first_at is not None

    def due(self, now: float) -> bool:
        """Whether to ask it now."""
        return self._asked_at is None and now >= self._ask_at

    def asked(self, now: float) -> None:
        """A question is on its way."""
        self._asked_at = now
        if self._asked_first_at is None:
            self._asked_first_at = now

    def answered(self, now: float) -> None:
        """An answer came, to whichever question."""
        self._asked_at = self._asked_first_at = None
        self._missed = 0
        self._has_answered = True
        self._ask_at = now + self._patience.every_s

    def hung_for(self, now: float) -> float | None:
        """For how long it has owed an answer, once that is too long; notes a miss, after which it is due again."""
        limit_s = self._patience.answer_s if self._has_answered else self._patience.first_answer_s
        if self._asked_at is not None and now >= self._asked_at + limit_s:
            self._missed += 1
            self._asked_at = None
            self._ask_at = now
        if self._missed < self._patience.misses or self._asked_first_at is None:
            return None
        return now - self._asked_first_at

    def wait_s(self, now: float) -> float:
        """How long nothing has to be done about it."""
        if self._asked_at is None:
            return max(0.0, self._ask_at - now)
        return self._patience.step_s
