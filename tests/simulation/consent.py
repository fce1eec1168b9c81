"""People who give and take back their consent, or have themselves erased: each is answered when that is in force.

The numbers of `delivery.deciding` are modelled; who writes a denial or a regulation waits for them as in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluicegate.consent.regulation import Kind
from sluicegate.delivery.deciding import TIMEOUT_S
from tests.simulation.ledger import Decision, Entry, Regulation

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.world import World

FIRST_LOOK_S = 0.0005
LAST_LOOK_S = 0.05


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


class People:
    """Those whom the events are of, and operators who act for them."""

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
            lambda: self._commit(Decision(subject=subject, said=said, at_ms=at_ms, recorded_ms=world.now_ms())),
        )

    def regulate(self, kind: Kind) -> None:
        """Somebody is erased or suppressed, or no longer; the call is answered after the barrier."""
        world, random = self._world, self._world.random
        subject, head = random.choice(world.subjects), world.log.head()
        self._later(
            random.uniform(0.001, 0.02),
            f"{kind} {subject}, whose events up to {head} are there",
            lambda: self._commit(Regulation(subject=subject, kind=kind, head=head, recorded_ms=world.now_ms())),
        )

    def crash(self) -> None:
        """The process that takes the calls ends: nobody is answered."""
        self._life += 1

    def _later(self, delay_s: float, what: str, call: Callable[[], None]) -> None:
        life = self._life
        self._world.clock.after(delay_s, what, lambda: call() if self._life == life else None)

    def _commit(self, made: Entry) -> None:
        world = self._world
        ends = isinstance(made, Regulation) and made.kind is Kind.UNSUPPRESS
        if ends and not world.consent.of(made.subject, world.consent.version).is_suppressed:
            return
        world.consent.write(made)
        world.oracle.written(made)
        if isinstance(made, Decision) and all(made.said.values()):
            made.answered = True
            return
        if isinstance(made, Regulation) and made.kind.deletes:
            world.erasing.begin()
        waiting = {p: p.deciding.number for p in world.processes if p.alive and p.deciding.number & 1}
        if waiting:
            world.oracle.seen["withdrawal that waited"] += 1
        self._wait(made, waiting, world.clock.now + TIMEOUT_S, FIRST_LOOK_S)

    def _wait(self, made: Entry, waiting: dict[DestinationProcess, int], deadline: float, look_s: float) -> None:
        world = self._world
        waiting = {p: n for p, n in waiting.items() if p.alive and p.deciding.number == n}
        if waiting and world.clock.now < deadline:
            look_s = min(look_s * 2, LAST_LOOK_S)
            self._later(look_s, "", lambda: self._wait(made, waiting, deadline, look_s))
            return
        made.answered = True
        made.late = frozenset(process.id for process in waiting)
        world.oracle.seen["withdrawal answered late"] += bool(waiting)
        world.trace.say(world.clock.now, f"change {made.number} of {made.subject} is answered, late: {made.late}")
