"""What a destination's process is doing: its phase, and its calls under way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sluicegate.delivery.lane import Work


class Phase(Enum):
    """What a process is doing."""

    STARTING = 1
    DELIVERING = 2
    FINISHING = 3
    LEAVING = 4


@dataclass(slots=True, eq=False)
class Call:
    """A call under way."""

    work: Work
    began: float
    offsets: list[int]
    subjects: set[str]
    replay: bool
    version: int
    """Of the ledger when it was decided on."""
