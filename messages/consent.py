"""Decisions about consent that Python applications tell the router actor, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluicegate.messages.codec import Message, message


@message
@dataclass(frozen=True, slots=True)
class SetConsent(Message):
    """A person decided; answered by `ConsentRecorded` once it is on disk, or by `Refused`.

    `preferences` is {purpose: granted}. `decided_at_ms` (Unix milliseconds) is now when left out, and never later.
    """

    request_id: str
    preferences: dict[str, bool]
    user_id: str | None = None
    anonymous_id: str | None = None
    decided_at_ms: int | None = None
    policy_version: str = ""
    source: str = "actor"


@message
@dataclass(frozen=True, slots=True)
class ConsentRecorded(Message):
    """A decision is on disk, and a denial in force; the ledger has this version since.

    `stopped` counts by destination the waiting events that a denial stops, `in_flight` the calls that had begun before;
    `complete` is false when more waits than was counted.
    """

    request_id: str
    version: int
    stopped: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    complete: bool = True
