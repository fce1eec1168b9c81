"""Decisions about consent that Python applications tell the router actor, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

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
    """A decision is on disk; the ledger has this version since."""

    request_id: str
    version: int
