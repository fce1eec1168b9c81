"""Events of @jitsu/js whose page sends no ids (`privacy.disableUserIds`)."""

from __future__ import annotations

from uuid import uuid4

import msgspec
from msgspec import Raw

from sluicegate.acceptance import Acceptance
from sluicegate.acceptance.document import utf8_text
from sluicegate.acceptance.verdict import Reason

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


def lacks_subject(acceptance: Acceptance) -> bool:
    """Whether an event was refused for nothing but that it names nobody."""
    return any(rejection.reason is Reason.NO_SUBJECT for rejection in acceptance.rejected)


def with_anonymous_id(event: bytes) -> bytes:
    """The event with an `anonymousId` that no other event has: it belongs to nobody who could be recognised."""
    members: dict[str, object] = dict(_MEMBERS.decode(utf8_text(event)))
    members["anonymousId"] = str(uuid4())
    return msgspec.json.encode(members)
