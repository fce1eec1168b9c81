"""The contract of a destination type.

A type is a class registered under the entry-point group `sluicegate.destinations`. Its module is imported in the
process of its own destination, at the first event for it, and nowhere else. What must be known before that (settings,
purposes, limits) is declared by a `Settings` class (`sluicegate.config.declaration`), which may be registered under
`sluicegate.settings` by the same name and is then checked when the system starts. Who calls what, when:

    initialize()   once, first, in the worker thread       NotReady, CredentialsRefused
    test()         after it when `test_on_load` is set     NotReady, CredentialsRefused; no side effects at the vendor
    deliver(batch) for every batch within `limits`; from up to `in_flight` threads at a time
                   returning means that the vendor has all of it; Retry, Rejected, CredentialsRefused
    destroy()      once, last; errors are logged and ignored

Any other exception counts as `NotReady` before delivery and as `Retry` in it. A call that does not return
within 60 s is taken for hung: the process is killed and started again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, overload

import msgspec

from sluicegate.config.declaration import Limits, Settings


@dataclass(frozen=True, slots=True)
class Context:
    """What a destination instance is told about itself: its id, the limits and time-out in force, where files go."""

    id: str
    limits: Limits
    timeout_s: float
    data_dir: Path


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


@dataclass(slots=True)
class Batch(Sequence[Event]):
    """Events to deliver together, as columns; indexing gives an `Event`.

    `raws` and `message_ids` serve destinations that pass events on without looking into them. `attempt` counts from 1.
    """

    offsets: list[int]
    message_ids: list[str]
    raws: list[bytes]
    attempt: int = field(default=1)

    def __len__(self) -> int:
        return len(self.raws)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Event | Batch:
        if isinstance(index, slice):
            return Batch(self.offsets[index], self.message_ids[index], self.raws[index], self.attempt)
        return Event(self.offsets[index], self.message_ids[index], self.raws[index])

    def __iter__(self) -> Iterator[Event]:
        return map(Event, self.offsets, self.message_ids, self.raws)


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
    def deliver(self, batch: Batch) -> None:
        """Deliver the batch; returning means that the vendor has every event of it."""

    def destroy(self) -> None:  # noqa: B027
        """Release everything."""
