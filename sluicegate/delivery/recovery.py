"""What an earlier process knew of events beyond its cursor: how they failed, and whether it died of them.

Pure. Such events are held back when they are read from the log again, until all that were on their way together have
come; they then go out as they did before, so that a repeated call has the same idempotency key and what failed keeps
its history. Events that were in a call when the process died are **suspects**:

    after the first death    the call is made again as it was, and no other meanwhile
    after the second         its events go out one by one, and no other meanwhile
    dead twice alone         the event is a dead letter

So a process that was killed for other reasons costs a few slow calls, never an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sluicegate.delivery.beyond import Remembered
from sluicegate.delivery.budget import TRANSIENT_COST
from sluicegate.delivery.lane import Lane, Part, PendingRetry
from sluicegate.delivery.restraint import Restraint
from sluicegate.delivery.settlement import Dead, Stage
from sluicegate.eventlog.runs import Events

CallsOf = Callable[[Events], Iterable[Events]]
"""Cuts events into pieces that fit into one call each."""
DEATHS_TO_SINGLE = 2
DEATHS_TO_BURY = 2
DIED_TWICE = "the process died twice while it delivered this event and nothing else"


@dataclass(frozen=True, slots=True)
class Suspect:
    """An event that was in a call when a process died: how often, how often alone, and in which call the first time."""

    offset: int
    deaths: int
    alone: int
    call: tuple[int, int] = (0, 0)
    """Epoch and number of the call; the same for those that went out together.

    Recovered calls are only ever parted, so what went out together the first time stays together, in its order.
    """


@dataclass(frozen=True, slots=True)
class Plan:
    """One lane to be: the offsets of its parts in order."""

    parts: Sequence[tuple[frozenset[int], PendingRetry | None]]
    careful: bool
    last: int


@dataclass(slots=True)
class Recovery:
    """Holds back the events of earlier calls until their lanes are complete."""

    retries: Sequence[PendingRetry] = ()
    suspects: Sequence[Suspect] = ()
    began_at: float = 0.0
    """When this process took over (monotonic)."""
    restraint: Restraint | None = None
    """What held calls back then."""
    remembered: Remembered = field(default_factory=Remembered)
    """What was settled beyond the cursor."""
    _plans: list[Plan] = field(init=False)
    _wanted: frozenset[int] = field(init=False)
    _doomed: frozenset[int] = field(init=False)
    _held: Events = field(init=False, default_factory=Events)

    def __post_init__(self) -> None:
        self._doomed = frozenset(one.offset for one in self.suspects if one.alone >= DEATHS_TO_BURY)
        self._plans = [*_plans(self.retries, [one for one in self.suspects if one.offset not in self._doomed])]
        self._wanted = self._still_wanted()

    @property
    def pending(self) -> bool:
        """Whether it still waits for events to be read."""
        return bool(self._wanted)

    @property
    def careful(self) -> bool:
        """Whether it still waits for suspects."""
        return any(plan.careful for plan in self._plans)

    def held_retries(self) -> list[PendingRetry]:
        """The retries whose events have not all been read yet."""
        return [retry for retry in self.retries if not self._wanted.isdisjoint(retry.offsets)]

    def divert(self, events: Events) -> tuple[Events, list[Dead], list[int]]:
        """What was read, parted: the events that go on, those that are dead letters now, and the offsets of those that
        would be if they did not have to go redacted; the rest is held."""
        offsets = events.offsets
        doomed = bytes([offset in self._doomed for offset in offsets])
        others = bytes([offset not in self._wanted for offset in offsets])
        held = bytes([offset in self._wanted and offset not in self._doomed for offset in offsets])
        self._held = Events([*self._held.runs, *events.select(held).runs])
        singles = [*_singles(events.select(doomed))]
        dead = [self._dead(one) for one in singles if not one.runs[0].redact]
        return events.select(others), dead, [one.offsets[0] for one in singles if one.runs[0].redact]

    def ready(self, last: int, calls_of: CallsOf) -> list[Lane]:
        """The lanes that are complete when the log has been read up to offset `last`; each is given out once."""
        complete = [plan for plan in self._plans if plan.last <= last]
        self._plans = [plan for plan in self._plans if plan.last > last]
        self._doomed = frozenset(offset for offset in self._doomed if offset > last)
        self._wanted = self._still_wanted()
        lanes = [self._lane(plan, calls_of) for plan in complete]
        if complete:
            self._held = self._held.select(bytes([offset in self._wanted for offset in self._held.offsets]))
        return [lane for lane in lanes if lane.parts]

    def _still_wanted(self) -> frozenset[int]:
        return self._doomed.union(*(part for plan in self._plans for part, _ in plan.parts))

    def _lane(self, plan: Plan, calls_of: CallsOf) -> Lane:
        offsets = self._held.offsets
        parts = deque[Part]()
        for wanted, history in plan.parts:
            events = self._held.select(bytes([offset in wanted for offset in offsets]))
            parts.extend(Part.again(call, history) for call in calls_of(events))
        failures = parts[0].attempts if parts else 0
        lane = Lane(parts, careful=plan.careful, scattered=True, behind=True, remembered=True, failures=failures)
        lane.retry_cost = TRANSIENT_COST if failures else 0
        return lane

    def _dead(self, one: Events) -> Dead:
        (offset,), (message_id,), raw = one.offsets, one.message_ids, one.joined()
        deaths = next(suspect.deaths for suspect in self.suspects if suspect.offset == offset)
        at = self.began_at
        return Dead(offset, message_id, raw, DIED_TWICE, deaths, at, at, Stage.CRASHED, DIED_TWICE)


def _singles(events: Events) -> Iterator[Events]:
    return (events.slice(index, index + 1) for index in range(len(events)))


def _plans(retries: Sequence[PendingRetry], suspects: Sequence[Suspect]) -> Iterator[Plan]:
    """A lane for each that there was, then one for each call of suspects that were in none of those."""
    suspected = {one.offset: one for one in suspects}
    planned: set[int] = set()
    for lane in dict.fromkeys(retry.lane for retry in retries):
        parts: list[tuple[frozenset[int], PendingRetry | None]] = []
        for retry in (retry for retry in retries if retry.lane == lane):
            parts += [(part, retry) for part in _parts(retry.offsets, suspected)]
        offsets = frozenset[int]().union(*(part for part, _ in parts))
        planned |= offsets
        yield Plan(parts, not offsets.isdisjoint(suspected), max(offsets, default=0))
    calls: dict[tuple[int, int], list[int]] = {}
    for one in suspects:
        if one.offset not in planned:
            calls.setdefault(one.call, []).append(one.offset)
    for call in calls.values():
        yield Plan([(part, None) for part in _parts(call, suspected)], True, max(call))


def _parts(offsets: Iterable[int], suspected: Mapping[int, Suspect]) -> Iterator[frozenset[int]]:
    """The offsets as they go out: together, or one by one when two processes have died of them."""
    offsets = sorted(offsets)
    if any(offset in suspected and suspected[offset].deaths >= DEATHS_TO_SINGLE for offset in offsets):
        yield from (frozenset((offset,)) for offset in offsets)
    elif offsets:
        yield frozenset(offsets)
