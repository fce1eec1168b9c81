"""What is decoded of an event: twice, once strictly and quickly for the common case, once loosely for all others.

Members that are not named here are skipped by the decoder, which checks their syntax and builds nothing.
"""

from __future__ import annotations

import itertools
import secrets
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from sluicegate.acceptance.times import Aware

MAX_ID_LENGTH = 255

ABSENT = Raw(b"")
"""The value of a raw member that an event does not have; compare by identity."""

contexts_decoded = itertools.count()
"""Counts decoded `context` objects: as many as events have one, or some event has two. Not for several threads.

So that none goes uncounted, decoding fails for null.
"""

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
SubjectId = Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class StrictContext(Struct, gc=False):
    """The consent in `context`, and a number that the decoder draws for every context it meets.

    What only few events have makes decoding fail, even null, which could be there twice: those are decoded with
    `WideContext`.
    """

    consent: Raw = ABSENT
    consentManagement: Raw = ABSENT
    tcf: UnsetType = UNSET
    gpc: UnsetType = UNSET
    jurisdiction: UnsetType = UNSET
    number: int = field(default_factory=contexts_decoded.__next__, name=secrets.token_hex(16))


class StrictHead(Struct, gc=False):
    """An event that lacks nothing but `receivedAt`; decoding fails for one with any oddity."""

    type: Literal["track", "page", "identify", "screen", "group", "alias"]
    messageId: MessageId
    timestamp: Aware
    userId: SubjectId | UnsetType | None = UNSET
    anonymousId: SubjectId | UnsetType | None = UNSET
    event: str | None = None
    sentAt: str | None = None
    receivedAt: Raw = ABSENT
    context: StrictContext | UnsetType = UNSET
    consent: Raw = ABSENT
    integrations: Raw = ABSENT
    gdpr_consent: UnsetType = UNSET


class StrictBatch(Struct, gc=False):
    """A batch of such events."""

    batch: list[StrictHead]


class WideContext(StrictContext, gc=False):
    """The same with what only few events have."""

    tcf: Raw = ABSENT  # type: ignore[assignment]
    gpc: Raw = ABSENT  # type: ignore[assignment]
    jurisdiction: Raw = ABSENT  # type: ignore[assignment]


class WideHead(StrictHead, gc=False):
    """The same with what only few events have."""

    context: WideContext | UnsetType = UNSET
    gdpr_consent: Raw = ABSENT  # type: ignore[assignment]


class WideBatch(Struct, gc=False):
    """A batch of such events."""

    batch: list[WideHead]


class LooseContext(Struct, gc=False):
    """The consent in `context`."""

    consent: Raw = ABSENT
    consentManagement: Raw = ABSENT
    tcf: Raw = ABSENT
    gpc: Raw = ABSENT
    jurisdiction: Raw = ABSENT


class LooseHead(Struct, gc=False):
    """Any JSON object; what is wrong with it is found out member by member."""

    type: Any = UNSET
    messageId: Any = UNSET
    userId: Any = None
    anonymousId: Any = None
    groupId: Any = None
    previousId: Any = None
    event: Any = None
    timestamp: Any = UNSET
    originalTimestamp: Any = UNSET
    sentAt: Any = None
    receivedAt: Raw = ABSENT
    context: Raw = ABSENT
    consent: Raw = ABSENT
    integrations: Raw = ABSENT
    gdpr_consent: Raw = ABSENT


NULL = b"null"


def said(raw: Raw) -> bytes:
    """The bytes of a member; empty when it is not there or null."""
    value = bytes(raw)
    return b"" if value == NULL else value
