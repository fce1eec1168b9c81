"""Clients: what they send, and what there is about it that a vendor does not like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.event import Combo
from tests.simulation.eventlog import SimEvent
from tests.simulation.faults import Fault
from tests.simulation.vendor import Vendor

if TYPE_CHECKING:
    from tests.simulation.world import World

YES = Combo("track", "web", (("analytics", True), ("marketing", True)))
TRICKLE_S = 20.0
"""Fresh events come this often while an event is to be found out: without others that go through it is not blamed."""


class Clients:
    """All who send; `subjects` are those whom the events are of."""

    def __init__(self, world: World) -> None:
        random = world.random
        self._world = world
        self._n_events = 0
        self._n_left = random.randrange(5, 50)
        self._pace_s = random.choice((0.02, 0.2, 1.0))
        self.subjects = [f"s{number}" for number in range(random.choice((1, 3, 6)))]
        self._combos = [self._combo() for _ in range(random.randrange(1, 5))]
        self._trickling = False

    def _combo(self) -> Combo:
        random = self._world.random
        holds = self._world.hold_ms is not None
        answers = (True, False, None, None, None) if holds else (True, True, True, False, None)
        said = {purpose: random.choice(answers) for purpose in ("analytics", "marketing")}
        stamp = tuple((purpose, answer) for purpose, answer in said.items() if answer is not None)
        off = tuple(id for id in self._world.sites if random.random() < 0.1)
        return Combo(random.choice(("track", "track", "page", "identify")), "web", stamp, off)

    def send(self) -> None:
        """Send some events, and the rest later."""
        world, random = self._world, self._world.random
        if not self._n_left:
            return
        events = [self.event() for _ in range(min(self._n_left, random.choice((1, 1, 2, 5, 12))))]
        self._n_left -= len(events)
        world.trace.say(world.clock.now, f"client: {events[0].message_id} to {events[-1].message_id}")
        world.gateway.submit(events)
        world.clock.after(random.expovariate(1.0 / self._pace_s), "", self.send)

    def stop(self) -> None:
        """Nothing more is sent."""
        self._n_left = 0

    def trickle(self) -> None:
        """Send an event now and then, which every destination may have that takes such events."""
        self._trickling = True
        self._world.gateway.submit([self.event(YES, "regular")])
        self._world.clock.after(TRICKLE_S, "", lambda: self.trickle() if self._trickling else None)

    def end_trickle(self) -> None:
        """Enough of that."""
        self._trickling = False

    def event(self, combo: Combo | None = None, subject: str = "") -> SimEvent:
        """A new event; one that is like others when it is not told what it is to be."""
        random = self._world.random
        self._n_events += 1
        message_id = f"m{self._n_events}"
        if combo is None:
            combo = random.choice(self._combos)
            for site in self._world.sites.values():
                self._spoil(site.vendor, message_id)
        subject = subject or random.choice(self.subjects)
        who, at_ms, pad = subject.encode(), self._world.now_ms(), b"x" * random.choice((0, 5, 40))
        raw = b'{"n":%d,"anonymousId":"%s","timestamp":%d,"pad":"%s"}' % (self._n_events, who, at_ms, pad)
        return SimEvent(message_id, subject, combo, raw, at_ms)

    def _spoil(self, vendor: Vendor, message_id: str) -> None:
        """Perhaps there is something about this event; one at most is deadly and one sick, so that all ends in time."""
        chance = self._world.swarm.chance
        if chance(Fault.VENDOR_400):
            vendor.spoil(message_id)
        if not vendor.deadly and chance(Fault.EVENT_KILLS):
            vendor.deadly.add(message_id)
        if not vendor.ever_sick and chance(Fault.EVENT_SICK):
            vendor.sicken(message_id)
