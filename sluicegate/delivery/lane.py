"""A batch on its way to the vendor: from its first call until each of its events is delivered or dead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from sluicegate.delivery.backlog import slots_of
from sluicegate.destinations.base import Batch
from sluicegate.eventlog.runs import Events

SPLIT_ATTEMPTS = 5
"""From this attempt on a batch that fails is halved: it isolates an event that breaks the vendor."""


@dataclass(frozen=True, slots=True)
class PendingRetry:
    """Events that went out in one call and failed; `first_attempt` is monotonic, `failing_s` leaves outages out.

    Of one `lane`, in the order of the list: what is behind waits for what is before.
    """

    lane: int
    offsets: Sequence[int]
    attempts: int
    failing_s: float
    first_attempt: float
    first_error: str


@dataclass(slots=True)
class Part:
    """Events that go out in one call, and how that went so far; times are monotonic."""

    events: Events
    attempts: int = 0
    first_attempt: float = 0.0
    first_error: str = ""
    """Of the first attempt that failed in a way that may pass; empty when none has."""
    failing_s: float = 0.0
    """How long it had been failing when this process took it over."""
    since: float | None = None
    """When this process first tried it, on the clock that stands still during outages."""
    failed_alone: bool = False
    """Whether its only event has failed last in a call of its own, and not because there were too many calls."""
    judged: int = -1
    """The generation of the ledger by which all its events may go out."""

    @classmethod
    def again(cls, events: Events, history: PendingRetry | None) -> Part:
        """Events that an earlier process had on their way, with what is remembered of them."""
        part = cls(events)
        if history is not None:
            part.attempts, part.first_attempt = history.attempts, history.first_attempt
            part.failing_s, part.first_error = history.failing_s, history.first_error
        return part

    def halves(self) -> tuple[Part, Part]:
        """The older and the newer half."""
        return self.split((len(self.events) + 1) // 2)

    def split(self, n_events: int) -> tuple[Part, Part]:
        """The first events and the rest; both have been tried as often as the whole."""
        return self.of(self.events.slice(0, n_events)), self.of(self.events.slice(n_events, len(self.events)))

    def of(self, events: Events) -> Part:
        """Some of its events, which have its history."""
        return Part(events, self.attempts, self.first_attempt, self.first_error, self.failing_s, self.since)

    def only(self, indices: Container[int]) -> Part:
        """These of its events."""
        return self.of(self.events.select(bytes([index in indices for index in range(len(self.events))])))

    def without(self, indices: Container[int]) -> Part:
        """All but these of its events."""
        return self.of(self.events.select(bytes([index not in indices for index in range(len(self.events))])))

    def redacting(self, indices: Container[int]) -> Part:
        """The same events, of which these go redacted."""
        return self.of(self.events.marked(bytes([index in indices for index in range(len(self.events))])))

    def failed(self, error: str, *, began: float) -> None:
        """Note that its call, which began then on the clock that stands still during outages, has failed."""
        self.first_error = self.first_error or error
        if self.since is None:
            self.since = began
        self.events = self.events.compact()  # it may be long until it goes

    def age_s(self, clock: float) -> float:
        """How long it has been failing, without outages."""
        return self.failing_s + (0.0 if self.since is None else clock - self.since)

    def as_retry(self, lane: int, clock: float) -> PendingRetry:
        """What is remembered of it, as a part of a lane with this number."""
        return PendingRetry(
            lane, self.events.offsets, self.attempts, self.age_s(clock), self.first_attempt, self.first_error
        )


class Origin(StrEnum):
    """Where the events of a lane come from, and so where it is noted how they ended."""

    LOG = "log"
    LETTERS = "letters"
    """Dead letters, which have their ids in place of offsets and no place in the order of events."""
    HELD = "held"
    """Events that the cursor has passed and that had to wait for a decision."""


@dataclass(slots=True, eq=False)
class Lane:
    """A batch on its way: its parts in order, and when the first may go out."""

    parts: deque[Part]
    origin: Origin = Origin.LOG
    behind: bool = False
    """Whether it may have to wait for a lane before it, with which it shares a subject."""
    careful: bool = False
    """Its events were in calls when a process died: nothing else goes out while one of them does."""
    scattered: bool = False
    """Whether other events that may go out lie between its events in the log."""
    remembered: bool = False
    """Whether the store knows how it has failed."""
    running: bool = False
    started: float = -math.inf
    due: float = -math.inf
    failures: int = 0
    retry_cost: int = 0
    """What its next call costs of the retry budget."""
    throttled: bool = False
    """Whether its last call failed because there were too many calls: no fault of its events."""
    known_slots: Set[int] | None = None
    version: int = 0
    """Of the ledger, when it was last allowed to go out."""

    @property
    def replay(self) -> bool:
        """Whether it replays dead letters."""
        return self.origin is Origin.LETTERS

    @property
    def slots(self) -> Set[int]:
        """The slots it owns."""
        if self.known_slots is None:
            self.known_slots = {slot for part in self.parts for slot in slots_of(part.events.subjects)}
        return self.known_slots

    @property
    def fails_alone(self) -> bool:
        """Whether its next event has failed by itself, and too often to keep others waiting."""
        return self.parts[0].failed_alone and self.parts[0].attempts > SPLIT_ATTEMPTS

    def first_offset(self) -> int:
        """Where it begins in the log."""
        return self.parts[0].events.offsets[0]

    def release(self) -> Lane | None:
        """Part with all events that need not wait for the single one of the first part; None when there are none."""
        (slot,) = slots_of(self.parts[0].events.subjects)
        rest = list(self.parts)[1:]
        theirs = [bytes([s != slot for s in slots_of(part.events.subjects)]) for part in rest]
        ours = [bytes([not s for s in chosen]) for chosen in theirs]
        kept = (part.of(part.events.select(chosen)) for part, chosen in zip(rest, ours, strict=True))
        released = (part.of(part.events.select(chosen)) for part, chosen in zip(rest, theirs, strict=True))
        parts = deque(part for part in released if len(part.events))
        if not parts:
            return None
        self.parts = deque([self.parts[0], *(part for part in kept if len(part.events))])
        self.known_slots, self.scattered = None, True
        return Lane(parts, self.origin, careful=self.careful, scattered=True, retry_cost=self.retry_cost)

    def split_first(self, max_events: int) -> None:
        """Make its first part one of at most so many events."""
        part = self.parts[0]
        if len(part.events) > max_events:
            self.parts.popleft()
            self.parts.extendleft(reversed(part.split(max_events)))


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One call to make: `deliver(batch)`."""

    lane: Lane
    batch: Batch
