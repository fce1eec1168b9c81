"""The model ledger: what people decided, who has read it, and whoever withdraws waits until it is in force.

The rules are the product's (`Gate`, `SubjectConsent`); the file, its readers and the numbers of `delivery.deciding`
are modelled. A reader sees what was written up to its last look and nothing newer, which is the worst that is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluicegate.consent.evidence import decision
from sluicegate.consent.slots import EMPTY, Slots, join, joined
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.delivery.deciding import TIMEOUT_S
from sluicegate.errors import ConsentUnreadable
from tests.simulation.faults import Fault

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.world import World

FIRST_LOOK_S = 0.0005
LAST_LOOK_S = 0.05


@dataclass(slots=True, eq=False)
class Decision:
    """What somebody said about some purposes, at a time by their own clock; `number` counts from 1."""

    number: int
    subject: str
    said: dict[str, bool]
    at_ms: int
    answered: bool = False
    late: frozenset[str] = frozenset()
    """Destinations of which the answer said that they had not confirmed."""


@dataclass(slots=True)
class ModelLedger:
    """The ledger on disk; what was committed stays, whatever happens."""

    decisions: list[Decision] = field(default_factory=list)
    of_subject: dict[str, list[Decision]] = field(default_factory=dict)

    def write(self, subject: str, said: dict[str, bool], at_ms: int) -> Decision:
        """Commit a decision."""
        made = Decision(len(self.decisions) + 1, subject, said, at_ms)
        self.decisions.append(made)
        self.of_subject.setdefault(subject, []).append(made)
        return made

    def of(self, subject: str | None, version: int) -> SubjectConsent:
        """What was known of a subject at a version."""
        known = [one for one in self.of_subject.get(subject or "", ()) if one.number <= version]
        if not known:
            return UNKNOWN_SUBJECT
        slots: dict[str, Slots] = {}
        for one in known:
            for purpose, writes in decision(one.said, one.at_ms, received_ms=one.at_ms).items():
                slots[purpose] = join(slots.get(purpose, EMPTY), joined(writes))
        return SubjectConsent(slots, Rules())


class ModelReader:
    """The ledger as one process reads it: the same contract as `consent.reading.LedgerReader`."""

    has_regulated = False

    def __init__(self, world: World) -> None:
        self._world = world
        self.version = 0
        self.generation = 0

    def refresh(self) -> None:
        """Take note of what was committed."""
        self._may_fail()
        newest = len(self._world.consent.decisions)
        if newest != self.version:
            self.version = newest
            self.generation += 1

    def of_many(self, subjects: Sequence[tuple[str | None, str | None]]) -> list[SubjectConsent]:
        """What is known of each, as of the last look."""
        self._may_fail()
        return [self._world.consent.of(visitor, self.version) for _, visitor in subjects]

    def _may_fail(self) -> None:
        if self._world.swarm.chance(Fault.LEDGER_UNREADABLE):
            raise ConsentUnreadable("the ledger is locked")


@dataclass(slots=True)
class ModelDeciding:
    """A worker's number: odd while it decides and until the calls that it decided on have been entered."""

    number: int = 0
    n_open: int = 0

    def add(self, n: int) -> None:
        """So many decisions begin, or end where negative."""
        self.n_open += n
        if (self.number & 1) != (self.n_open > 0):
            self.number += 1


class Withdrawals:
    """People who give and take back their consent, by calls that are answered when they are in force."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._life = 0

    def decide(self, *, granted: bool) -> None:
        """Somebody decides; the call is answered after the commit, a denial after the barrier."""
        world, random = self._world, self._world.random
        purposes = random.choice((("analytics",), ("marketing",), ("analytics", "marketing")))
        subject, said = random.choice(world.subjects), dict.fromkeys(purposes, granted)
        at_ms = world.now_ms() - random.choice((0, 0, 0, 100, 3_000))
        fsync_s = random.uniform(0.001, 0.008)
        self._later(
            fsync_s,
            f"{subject} {'grants' if granted else 'denies'} {purposes}",
            lambda: self._commit(subject, said, at_ms),
        )

    def crash(self) -> None:
        """The process that takes the calls ends: nobody is answered."""
        self._life += 1

    def _later(self, delay_s: float, what: str, call: Callable[[], None]) -> None:
        life = self._life
        self._world.clock.after(delay_s, what, lambda: call() if self._life == life else None)

    def _commit(self, subject: str, said: dict[str, bool], at_ms: int) -> None:
        world = self._world
        made = world.consent.write(subject, said, at_ms)
        if all(said.values()):
            made.answered = True
            return
        waiting = {p: p.deciding.number for p in world.processes if p.alive and p.deciding.number & 1}
        if waiting:
            world.oracle.seen["withdrawal that waited"] += 1
        self._wait(made, waiting, world.clock.now + TIMEOUT_S, FIRST_LOOK_S)

    def _wait(self, made: Decision, waiting: dict[DestinationProcess, int], deadline: float, look_s: float) -> None:
        world = self._world
        waiting = {p: n for p, n in waiting.items() if p.alive and p.deciding.number == n}
        if waiting and world.clock.now < deadline:
            look_s = min(look_s * 2, LAST_LOOK_S)
            self._later(look_s, "", lambda: self._wait(made, waiting, deadline, look_s))
            return
        made.answered = True
        made.late = frozenset(process.id for process in waiting)
        world.oracle.seen["withdrawal answered late"] += bool(waiting)
        world.trace.say(world.clock.now, f"decision {made.number} of {made.subject} is answered, late: {made.late}")
