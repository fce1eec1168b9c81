"""What the loading table wants done; the supervisor actor does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluicegate.pressure import MemoryUse


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the destination's process; report `spawned`, or `spawn_failed`."""

    id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RequestStop:
    """Ask the process to finish what is in flight, commit and end."""

    id: str
    epoch: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    """End the process now, without asking; report `exited` if it turns out to be gone already. Repeated until then."""

    id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class PersistPause:
    """Remember that the destination is paused, and why; None for no longer paused."""

    id: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class BatchDone:
    """Every load of this request has ended: None for loaded, else the reason it is not."""

    request_id: str
    results: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Drained:
    """All processes have ended after `drain_all`."""

    request_id: str


@dataclass(frozen=True, slots=True)
class NoteEvicted:
    """These were asked to end because memory is short: somebody will want to know."""

    ids: tuple[str, ...]
    memory: MemoryUse


Effect = Spawn | RequestStop | Kill | PersistPause | BatchDone | Drained | NoteEvicted
