"""How far a destination's process has come with loading: a byte that it shares with the supervisor.

What a process says in messages is lost when it dies a moment later, and one that hangs cannot be asked.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator

from sluicegate.delivery.report import LoadStage

_STAGES = tuple(LoadStage)

_own: StageCell | None = None


class StageCell:
    """One byte of memory that a process shares with the children it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def write(self, stage: LoadStage) -> None:
        """Note a stage; seen by everybody at once."""
        self._memory[0] = _STAGES.index(stage)

    def read(self) -> LoadStage:
        """The stage that was noted last."""
        return _STAGES[self._memory[0]]


@contextlib.contextmanager
def handed_down(cell: StageCell) -> Iterator[None]:
    """What is forked within this finds the cell as `own_cell()`."""
    global _own
    _own = cell
    try:
        yield
    finally:
        _own = None


def own_cell() -> StageCell:
    """The cell of this process; one that nobody looks at where none was handed down."""
    return _own or StageCell()
