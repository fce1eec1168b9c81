"""A vendor: takes events, refuses them, fails, is slow, lies about what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluicegate.destinations.base import Batch
from sluicegate.errors import CredentialsRefused, Rejected, Retry
from tests.simulation.faults import Fault
from tests.simulation.oracle import JITTER_FLOOR

if TYPE_CHECKING:
    from tests.simulation.world import World

RETRY_BASE_S = 1.0
"""The least that the backoff of a call is drawn from; the product may wait longer, never less than a share of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ends: what the vendor takes, after how long, and what the plugin raises."""

    takes: tuple[int, ...]
    """Indices in the batch."""
    error: Exception | None
    takes_after_s: float
    ends_after_s: float | None
    """None for never."""
    retry_s: float | None = None
    """The least time until any of the batch may be sent again; None for no matter."""
    kills: bool = False
    """Whether the process dies of it."""


class Vendor:
    """One destination's vendor; `bad` are the messages that it will never take, while they are bad.

    A `deadly` message kills whatever process sends it, with a `sick` one no call goes through.
    """

    def __init__(self, world: World, id: str) -> None:
        self._world = world
        self.id = id
        self.bad: set[str] = set()
        self.ever_bad: set[str] = set()
        self.deadly: set[str] = set()
        self.sick: set[str] = set()
        self.ever_sick: set[str] = set()
        self._style = world.random.randrange(3)

    def spoil(self, message_id: str) -> None:
        """This message is not to the vendor's liking."""
        self.bad.add(message_id)
        self.ever_bad.add(message_id)

    def sicken(self, message_id: str) -> None:
        """With this message no call goes through."""
        self.sick.add(message_id)
        self.ever_sick.add(message_id)

    def fix(self) -> None:
        """The vendor takes everything now that does no harm."""
        self.bad.clear()
        self.sick.clear()

    def call(self, batch: Batch, *, replay: bool, ended: Callable[[Answer], None], kill: Callable[[], None]) -> None:
        """Take a call; `ended` hears of its end, if it has one and the caller lives; `kill` ends the caller."""
        world = self._world
        answer = self._answer(batch)
        offsets = [world.oracle.offset_of[message_id] for message_id in batch.message_ids]
        taken = [offsets[index] for index in answer.takes]
        if world.trace.on:
            world.trace.say(world.clock.now, f"{self.id}: call with {offsets}: {answer}")
        if taken:
            world.clock.after(answer.takes_after_s, "", lambda: world.oracle.took(self.id, taken, replay=replay))
        if answer.kills:
            world.clock.after(answer.takes_after_s, f"{self.id}: the process dies of {offsets}", kill)
        if answer.ends_after_s is not None:
            world.clock.after(answer.ends_after_s, "", lambda: ended(answer))

    def _answer(self, batch: Batch) -> Answer:
        chance, random = self._world.swarm.chance, self._world.random
        every = tuple(range(len(batch)))
        spoiled = [index for index, message_id in enumerate(batch.message_ids) if message_id in self.bad]
        takes = () if spoiled else every
        duration_s = random.uniform(0.5, 9.0) if chance(Fault.VENDOR_SLOW) else random.uniform(0.001, 0.05)
        if not self.deadly.isdisjoint(batch.message_ids):
            return Answer((), None, duration_s, None, kills=True)
        if not self.sick.isdisjoint(batch.message_ids):
            return Answer((), Retry("500"), 0.0, duration_s, JITTER_FLOOR * RETRY_BASE_S)
        if chance(Fault.VENDOR_HANGS):
            return Answer(takes if random.random() < 0.5 else (), None, duration_s, None)
        if chance(Fault.VENDOR_REFUSES):
            return Answer((), CredentialsRefused("401"), 0.0, duration_s)
        if chance(Fault.VENDOR_500):
            return Answer((), Retry("500"), 0.0, duration_s, JITTER_FLOOR * RETRY_BASE_S)
        if chance(Fault.VENDOR_429):
            after_s = random.choice((0.0, 0.5, 3.0, 20.0, 120.0))
            return Answer((), Retry("429", after_s=after_s), 0.0, duration_s, after_s)
        if chance(Fault.PLUGIN_BUG):
            error = random.choice((ValueError("bug"), Rejected({}), Rejected({len(batch): "beyond"})))
            return Answer((), error, 0.0, duration_s, JITTER_FLOOR * RETRY_BASE_S)
        if chance(Fault.VENDOR_UNKNOWN):
            return Answer(takes, ConnectionError("reset"), 0.0, duration_s, JITTER_FLOOR * RETRY_BASE_S)
        if chance(Fault.VENDOR_LATE):
            late_s = duration_s + random.uniform(0.1, 20.0)
            return Answer(takes, Retry("timeout"), late_s, duration_s, JITTER_FLOOR * RETRY_BASE_S)
        at_s = random.random() * duration_s
        return self._refuse(spoiled, every, at_s, duration_s) if spoiled else Answer(every, None, at_s, duration_s)

    def _refuse(self, spoiled: list[int], every: tuple[int, ...], at_s: float, duration_s: float) -> Answer:
        good = tuple(index for index in every if index not in spoiled)
        reasons = {index: "400" for index in spoiled}
        if self._style == 0:
            return Answer((), Rejected("400"), at_s, duration_s)
        if self._style == 1:
            return Answer(good, Rejected(reasons), at_s, duration_s)
        return Answer((), Rejected(reasons, rest_delivered=False), at_s, duration_s)
