"""What other systems post to us: any JSON object becomes an event, as with RudderStack's webhook source."""

from __future__ import annotations

from uuid import uuid4

import msgspec
from msgspec import Raw

from sluicegate.errors import BodyRefused

EVENT = "webhook_source_event"
_ONE_OR_MORE = msgspec.json.Decoder(dict[str, Raw] | list[dict[str, Raw]])


def events_of_webhook(body: bytes) -> bytes:
    """A batch with a track event for the object in a body, or for each in its list; raises `BodyRefused`.

    The object becomes `properties`. Nobody is known to whom the event belongs, so that each has an `anonymousId` of
    its own, and no consent.
    """
    try:
        posted = _ONE_OR_MORE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyRefused("not_object", "the body is neither a JSON object nor a list of them") from None
    objects = posted if isinstance(posted, list) else [posted]
    return msgspec.json.encode({"batch": [_event(properties) for properties in objects]})


def _event(properties: dict[str, Raw]) -> dict[str, object]:
    return {
        "type": "track",
        "event": EVENT,
        "anonymousId": str(uuid4()),
        "properties": properties,
        "context": {"integration": {"name": "webhook"}},
    }
