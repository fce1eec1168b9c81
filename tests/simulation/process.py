"""A process: it lives until it dies, and may be frozen meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.clock import Timer

if TYPE_CHECKING:
    from tests.simulation.world import World


class Process:
    """What reaches a process does so at once, after it thaws, or never."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.alive = True
        self._frozen_until = -math.inf
        self._late: list[Callable[[], object]] = []

    def receive(self, call: Callable[[], object]) -> None:
        """Something reaches it."""
        if not self.alive:
            return
        if self._world.clock.now < self._frozen_until:
            self._late.append(call)
        else:
            call()

    def freeze(self, seconds: float) -> None:
        """Nothing is handled for a while; it all comes after."""
        until = self._world.clock.now + seconds
        if until > self._frozen_until:
            self._frozen_until = until
            self._world.clock.after(seconds, "", lambda: self.thaw() if self._frozen_until == until else None)

    def thaw(self) -> None:
        """Handle what has come meanwhile."""
        self._frozen_until = -math.inf
        late, self._late = self._late, []
        for call in late:
            self.receive(call)

    def die(self) -> None:
        """It ends, however it came to that."""
        if self.alive:
            self.alive = False
            self._world.trace.say(self._world.clock.now, f"{self.name}: is gone")
            self.ended()

    def ended(self) -> None:
        """It is gone."""

    def later(self, delay_s: float, what: str, call: Callable[[], None]) -> Timer:
        """Do something after a while, if it lives."""
        return self._world.clock.after(delay_s, what and f"{self.name}: {what}", lambda: self.receive(call))
