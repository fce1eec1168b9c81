"""The model log: what is on disk, what is on its way there, and who has been told that it is safe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluicegate.errors import LogUnavailable
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.base import Offset, Row
from sluicegate.eventlog.erasing import without
from sluicegate.eventlog.memory import MemoryLog, _Stored
from tests.simulation.faults import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class SimEvent:
    """An event as its client knows it."""

    message_id: str
    subject: str
    combo: Combo
    raw: bytes
    at_ms: int


class ModelLog(MemoryLog):
    """The log in memory, which can fail to be read and lose what was not synced; events can be erased from it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.durable = 0
        """The newest offset that a power cut leaves."""
        self._overwritten: list[_Stored] = []
        """Rows as they were before events were erased from them, which a power cut can bring back."""

    def read(self, after: int, *, max_events: int, max_bytes: int) -> list[Row]:
        if self._world.swarm.chance(Fault.LOG_UNAVAILABLE):
            raise LogUnavailable("the log is locked")
        return super().read(after, max_events=max_events, max_bytes=max_bytes)

    def sync(self) -> None:
        """All that was written is on disk."""
        self.durable = self._head
        self._overwritten.clear()

    def cut(self) -> None:
        """Power is gone: so is what was not synced."""
        self._rows = [row for row in self._rows if row.last <= self.durable]
        self._head = self.durable
        n_kept = self._world.random.randrange(len(self._overwritten) + 1)
        for old in reversed(self._overwritten[n_kept:]):
            pieces = [row for row in self._rows if old.first <= row.first and row.last <= old.last]
            if pieces:
                at = self._rows.index(pieces[0])
                self._rows[at : at + len(pieces)] = [old]
        self._overwritten.clear()

    def erase(self, first: Offset, places: Collection[int]) -> int:
        """As `eventlog.erasing.LogEraser.erase`, with the product's own rewriting."""
        at = next((at for at, row in enumerate(self._rows) if row.first == first), None)
        if at is None or not places:
            return 0
        old = self._rows[at]
        self._overwritten.append(old)
        pieces = []
        for piece in without(old.meta, old.payload, places):
            pieces.append(_Stored(first, piece.n_events, old.received_at_ms, piece.meta, piece.payload))
            first += piece.n_events
        self._rows[at : at + 1] = pieces
        return len(places)

    def payloads(self) -> list[tuple[Offset, list[bytes]]]:
        """The events of each row, with the offset of its first."""
        rows = super().read(0, max_events=1 << 40, max_bytes=1 << 40)
        return [(row.first, self.events(row)) for row in rows]


class Gateway:
    """Group commit before a model disk: append, fsync, answer."""

    acknowledges_early = False
    """A planted mistake: visible and answered before the fsync, as `synchronous=NORMAL` would have it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[SimEvent] = []
        self._committing: list[SimEvent] = []
        self._life = 0

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._committing

    def submit(self, events: Sequence[SimEvent]) -> None:
        """A request; the oracle hears when it is answered. Of who is suppressed nothing is taken."""
        consent = self._world.consent
        taken = [event for event in events if not consent.of(event.subject, consent.version).is_suppressed]
        self._world.oracle.seen["not taken"] += len(events) - len(taken)
        self._waiting += taken
        if self._waiting and not self._committing:
            self._begin()

    def crash(self) -> None:
        """It ends; what it was writing is on disk or not, and nobody was told."""
        self._life += 1
        committing, self._waiting, self._committing = self._committing, [], []
        if committing and not self.acknowledges_early and self._world.random.random() < 0.5:
            self._append(committing)
            self._world.log.sync()

    def _begin(self) -> None:
        world = self._world
        if world.swarm.chance(Fault.DISK_FULL):
            self._waiting = []  # every client was told to try again; ours do not
            return
        self._committing, self._waiting = self._waiting, []
        if self.acknowledges_early:
            self._append(self._committing, answer=True)
        fsync_s = world.random.uniform(0.001, 0.008)
        if world.swarm.chance(Fault.FSYNC_SLOW):
            fsync_s = world.random.uniform(0.2, 2.0)
        life = self._life
        world.clock.after(fsync_s, "fsync", lambda: self._synced() if self._life == life else None)

    def _synced(self) -> None:
        committed, self._committing = self._committing, []
        if not self.acknowledges_early:
            self._append(committed, answer=True)
        self._world.log.sync()
        if self._waiting:
            self._begin()

    def _append(self, events: Sequence[SimEvent], *, answer: bool = False) -> None:
        batch = EventBatch(
            [event.combo for event in events],
            [event.message_id for event in events],
            [None] * len(events),
            [event.subject for event in events],
            [event.at_ms for event in events],
            [event.raw for event in events],
            sum(len(event.raw) for event in events),
        )
        world = self._world
        first = world.log.append([batch], received_at_ms=world.now_ms())[0]
        world.oracle.appended(first, events)
        if answer:
            world.oracle.acknowledged(range(first, first + len(events)))
        world.ring()
