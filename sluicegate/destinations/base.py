"""The contract of a destination type.

A type is a class registered under the entry-point group `sluicegate.destinations`. Its module is imported in the
process of its own destination, at the first event for it, and nowhere else. What must be known before that (settings,
purposes, limits) is declared by a `Settings` class (`sluicegate.config.declaration`), which may be registered under
`sluicegate.settings` by the same name and is then checked when the system starts. Who calls what, when:

    initialize()   once, first, in the worker thread       NotReady, NotInstalled, CredentialsRefused
    test()         after it when `test_on_load` is set     the same; no side effects at the vendor
    deliver(batch) for every batch within `limits`; from up to `in_flight` threads at a time
                   returning None means that the vendor has all of it, an `Outcome` names the events that ended
                   otherwise; Retry, Rejected, CredentialsRefused
    destroy()      once, last; errors are logged and ignored

Any other exception counts as `NotReady` before delivery and as `Retry` in it. What the vendor answered goes along with
`error.answered(status, body)`. A call that does not return within 60 s is taken for hung: the process is killed and
started again, and an event that this happens to twice is a dead letter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, overload

import msgspec

from sluicegate.config.declaration import Limits, Settings
from sluicegate.destinations.outcome import Outcome
from sluicegate.eventlog.runs import Events
from sluicegate.network import Network


@dataclass(frozen=True, slots=True)
class Context:
    """What a destination instance is told about itself: its id, the limits and time-out in force, where files go.

    `network` says which private addresses it may connect to; `HttpConnection` takes it.
    """

    id: str
    limits: Limits
    timeout_s: float
    data_dir: Path
    network: Network = Network()  # noqa: RUF009  (frozen)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its log offset, the vendor's deduplication key, and its JSON as it was received."""

    offset: int
    message_id: str
    raw: bytes

    def json(self) -> dict[str, Any]:
        """The event parsed; parse once and keep the result."""
        parsed: dict[str, Any] = msgspec.json.decode(self.raw)
        return parsed


class Batch(Sequence[Event]):
    """Events to deliver together; indexing gives an `Event`. `attempt` counts from 1.

    Destinations that pass events on without looking into them take them all at once: `joined`, `lines`. The columns
    `offsets`, `message_ids` and `raws` have one entry per event, and are made when they are first asked for.
    """

    __slots__ = ("_events", "_message_ids", "_offsets", "_raws", "attempt")

    def __init__(
        self, offsets: Sequence[int], message_ids: Sequence[str], raws: Sequence[bytes], attempt: int = 1
    ) -> None:
        self._init(Events.of(offsets, message_ids, message_ids, raws), attempt)

    @classmethod
    def of(cls, events: Events, attempt: int = 1) -> Batch:
        """A batch of events as they came from the log."""
        batch = cls.__new__(cls)
        batch._init(events, attempt)
        return batch

    def _init(self, events: Events, attempt: int) -> None:
        self._events = events
        self._offsets: list[int] | None = None
        self._message_ids: list[str] | None = None
        self._raws: list[bytes] | None = None
        self.attempt = attempt

    @property
    def offsets(self) -> list[int]:
        """The events' places in the log."""
        if self._offsets is None:
            self._offsets = self._events.offsets
        return self._offsets

    @property
    def message_ids(self) -> list[str]:
        """The vendor's deduplication keys."""
        if self._message_ids is None:
            self._message_ids = self._events.message_ids
        return self._message_ids

    @property
    def raws(self) -> list[bytes]:
        """The JSON of each event as it was received."""
        if self._raws is None:
            self._raws = self._events.raws
        return self._raws

    def joined(self) -> bytes:
        """All events with a comma between each two, the inside of a JSON array: `b"[" + batch.joined() + b"]"`."""
        return self._events.joined()

    def lines(self) -> bytes:
        """All events as JSON Lines: each with a line end, and none within."""
        return self._events.lines()

    def key(self, destination_id: str) -> str:
        """An idempotency key: the same for the same events to the same destination, whenever they are sent again.

        It is the same after a restart too, and differs between any two batches and between any two logs.
        """
        return sha256(destination_id.encode() + b"\n" + self._events.fingerprint()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Event | Batch:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return Batch.of(self._events.slice(start, stop), self.attempt)
            return Batch(self.offsets[index], self.message_ids[index], self.raws[index], self.attempt)
        return Event(self.offsets[index], self.message_ids[index], self.raws[index])

    def __iter__(self) -> Iterator[Event]:
        return map(Event, self.offsets, self.message_ids, self.raws)

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} events, attempt {self.attempt}>"


class Destination(ABC):
    """Base of destination types; subclasses name their settings and implement the verbs."""

    settings_type: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings = settings
        self.context = context

    def initialize(self) -> None:  # noqa: B027  (a type may have nothing to do)
        """Open what delivery needs; raises `NotReady` or `CredentialsRefused`."""

    def test(self) -> None:  # noqa: B027
        """Check that the vendor would take events, without side effects; raises like `initialize`."""

    @abstractmethod
    def deliver(self, batch: Batch) -> Outcome | None:
        """Deliver the batch; None means that the vendor has every event of it."""

    def destroy(self) -> None:  # noqa: B027
        """Release everything."""
