"""The model of `delivery.flight`: which calls a process had under way, left behind when it dies."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from sluicegate.delivery.lane import Origin, Work


class Interrupted(NamedTuple):
    """The offsets of each call, the letters that were replayed, and the offsets of events that had been held."""

    calls: list[list[int]]
    replayed: list[int]
    released: list[int]


@dataclass(slots=True)
class ModelFlight:
    """The calls of one process; replays by the ids of their letters."""

    epoch: int = 0
    _calls: dict[Work, list[int]] = field(default_factory=dict)

    def began(self, work: Work) -> None:
        """A call is about to be made."""
        self._calls[work] = list(work.batch.offsets)

    def ended(self, work: Work) -> None:
        """It has ended, however it did."""
        self._calls.pop(work, None)

    def close(self) -> None:
        """The process ends on purpose, or power was cut and nothing is known."""
        self._calls.clear()

    def interrupted(self) -> Interrupted:
        """The calls that had not ended."""
        of = {origin: [ids for work, ids in self._calls.items() if work.lane.origin is origin] for origin in Origin}
        return Interrupted(of[Origin.LOG], [*chain(*of[Origin.LETTERS])], [*chain(*of[Origin.HELD])])
