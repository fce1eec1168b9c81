"""What the system says about itself while it runs: accounts as they were told, and checked as they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sluicegate.messages.status import DestinationStatus
from tests.end_to_end.harness import ACCOUNTS

GROWING = ("accepted", "delivered", "denied")
REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Counts:
    """The accounts of one destination, as a status or a scrape of the metrics has them."""

    accepted: int
    delivered: int
    pending: int
    held: int
    dead: int
    denied: int
    expired: int
    denied_by: Mapping[str, int]
    state: str
    breaker: str | None = None

    @classmethod
    def of(cls, status: DestinationStatus) -> Counts:
        """From a status."""
        numbers = {name: getattr(status, name) for name in ("accepted", *ACCOUNTS)}
        return cls(**numbers, denied_by=dict(status.denied_by or {}), state=status.state, breaker=status.breaker)

    @property
    def told(self) -> tuple[int, int, int, int, dict[str, int], int]:
        """What must be the same wherever it is told."""
        denied_by = {reason: n for reason, n in self.denied_by.items() if n}
        return self.delivered, self.dead, self.expired, self.held, denied_by, self.pending


@dataclass(frozen=True, slots=True)
class Sighting:
    """One answer: when it was asked for and when it was there (Unix time), and the accounts in it."""

    asked_at: float
    answered_at: float
    of: Mapping[str, Counts]


@dataclass(slots=True)
class Books:
    """All answers of one kind, in order; `problems` has what cannot be true."""

    name: str
    problems: list[str] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)

    @property
    def latest(self) -> Mapping[str, Counts]:
        """The newest accounts."""
        return self.sightings[-1].of if self.sightings else {}

    def enter(self, sighting: Sighting) -> None:
        """Check one answer by itself and against the one before."""
        for id_, now in sighting.of.items():
            self._check(id_, now, self.latest.get(id_))
        self.sightings.append(sighting)

    def _check(self, id_: str, now: Counts, before: Counts | None) -> None:
        if now.accepted != sum(getattr(now, name) for name in ACCOUNTS):
            self.problems.append(f"I8: accounts of {id_} in the {self.name} do not add up: {now}")
        if now.denied != sum(now.denied_by.values()):
            self.problems.append(f"I8: denials of {id_} in the {self.name} do not add up: {now}")
        comes_back = before is not None and before.state == REMOVED != now.state  # what was filtered waits again
        for name in GROWING if before is not None and not comes_back else ():
            if getattr(now, name) < getattr(before, name):
                self.problems.append(f"I8: {name} of {id_} in the {self.name} fell: {before}, then {now}")


def breaker_open_s(sightings: Sequence[Sighting], *, since: float) -> float:
    """For how long after a moment (Unix time) the circuit breaker of some destination was seen to be open."""
    total_s = 0.0
    for one, following in pairwise(sightings):
        if following.asked_at > since and any(counts.breaker == "open" for counts in one.of.values()):
            total_s += following.asked_at - max(one.asked_at, since)
    return total_s
