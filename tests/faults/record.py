"""What is known of a scenario that has ended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache

from sluicegate.version import __version__
from tests.faults.programs import ROOT

INVARIANTS = tuple(f"I{number}" for number in range(1, 11))
MAX_PROBLEM_CHARS = 500


class Skip(Exception):
    """A fault, or a part of one, that cannot be injected here; its text is the reason."""


@dataclass(slots=True)
class Record:
    """One run of one scenario; one line of JSON."""

    number: str
    title: str
    seed: int
    form: str
    commit: str
    version: str
    outcome: str = "passed"
    problem: str = ""
    acknowledged: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    duplicates: dict[str, int] = field(default_factory=dict)
    stored_again: int = 0
    recovery_s: float | None = None
    invariants: dict[str, str] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self))

    def judge(self, problems: Sequence[str], *, isolation: bool) -> None:
        """Note which invariants hold; I5 is judged where a destination is known that had no fault."""
        for invariant in INVARIANTS:
            good = "not judged" if invariant == "I5" and not isolation else "ok"
            broken = any(problem.startswith(f"{invariant}:") for problem in problems)
            self.invariants[invariant] = "failed" if broken else good

    def fail(self, problem: str) -> None:
        """Note why it has failed, and the invariants that it names."""
        self.outcome, self.problem = "failed", problem[:MAX_PROBLEM_CHARS]
        for invariant in INVARIANTS:
            if any(line.startswith(f"{invariant}:") for line in problem.splitlines()):
                self.invariants[invariant] = "failed"


@cache
def commit() -> str:
    """The commit that is tested, with a + when files have been changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
    )
    return said.stdout.strip() or "unknown"


def new_record(number: str, title: str, *, seed: int, long: bool) -> Record:
    """The record of a run that has yet to begin."""
    return Record(number, title, seed, "long" if long else "short", commit(), __version__)
