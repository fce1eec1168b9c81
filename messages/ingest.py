"""What Python applications send to the router actor, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sluicegate.messages.codec import Message, message


@message
@dataclass(frozen=True, slots=True)
class ProcessEvents(Message):
    """Accept these events; answered by `Accepted` once they are on disk, or by `Refused`.

    `events` are JSON objects as bytes, shaped like the items of a Segment batch. `consent` is the default for events
    that carry none, `{purpose: granted}`. `source` names the sending application in routing and accounts.
    """

    request_id: str
    events: tuple[bytes, ...]
    consent: dict[str, bool] | None = None
    source: str = "actor"


@message
@dataclass(frozen=True, slots=True)
class ProcessEvent(Message):
    """Accept one event given as fields; answered by `Accepted` once it is on disk, or by `Refused`.

    `type` is track, identify, page, screen, group or alias; `fields` has what else the event has, such as `properties`.
    """

    request_id: str
    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    event: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    consent: dict[str, bool] | None = None
    source: str = "actor"


@message
@dataclass(frozen=True, slots=True)
class Verdict(Message):
    """Why one event of a request was not accepted; events without a verdict were."""

    index: int
    message_id: str | None
    reason: str


@message
@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """The accepted events are on disk; `offset` is that of the first one that this request has stored.

    It is 0 when it stored none: none was accepted, or the log had all of them from before. Events that were there count
    as accepted, and so do those of people who are suppressed, of which nothing is stored.
    """

    request_id: str
    offset: int
    accepted: int
    verdicts: tuple[Verdict, ...] = ()


@message
@dataclass(frozen=True, slots=True)
class Refused(Message):
    """A request was not carried out; the reason says what to do. Nothing was changed.

    `most_events` is how many events a request may have, where it had more.
    """

    request_id: str
    reason: str
    most_events: int | None = None
