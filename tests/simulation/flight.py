"""The model of `delivery.flight`: which calls a process had under way, left behind when it dies."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluicegate.delivery.lane import Work


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

    def interrupted(self) -> tuple[list[list[int]], list[int]]:
        """The offsets of each call that had not ended, and the letters whose replay had not."""
        calls = [offsets for work, offsets in self._calls.items() if not work.lane.replay]
        replayed = [id for work, ids in self._calls.items() if work.lane.replay for id in ids]
        return calls, replayed
