"""What other systems post to us: any JSON object becomes an event, as with RudderStack's webhook source."""

from __future__ import annotations

from uuid import uuid4

import msgspec
from msgspec import Raw

from sluicegate.acceptance.body import check_batch_size, checked_text, too_many
from sluicegate.acceptance.document import check_depth, not_json
from sluicegate.config.model import GatewayConfig
from sluicegate.errors import BodyRefused

EVENT = "webhook_source_event"
_ONE_OR_MORE = msgspec.json.Decoder(dict[str, Raw] | list[dict[str, Raw]])


def events_of_webhook(body: bytes, *, limits: GatewayConfig) -> list[bytes]:
    """A track event for the object in a body, or for each in its list; raises `BodyRefused`.

    The object becomes `properties`. Nobody is known to whom the event belongs, so that each has an `anonymousId` of
    its own, and no consent. A body is bounded as a batch is, before anything is made of it: of few bytes much can come.
    """
    check_batch_size(body, max_bytes=limits.max_batch_bytes)
    text = checked_text(body)
    check_depth(text, max_depth=limits.max_depth)
    try:
        posted = _ONE_OR_MORE.decode(text)
    except msgspec.ValidationError:
        raise BodyRefused("not_object", "the body is neither a JSON object nor a list of them") from None
    except msgspec.DecodeError:
        raise not_json() from None
    objects = posted if isinstance(posted, list) else [posted]
    if len(objects) > limits.max_batch_events:
        too_many(limits.max_batch_events)
    return [msgspec.json.encode(_event(properties)) for properties in objects]


def _event(properties: dict[str, Raw]) -> dict[str, object]:
    return {
        "type": "track",
        "event": EVENT,
        "anonymousId": str(uuid4()),
        "properties": properties,
        "context": {"integration": {"name": "webhook"}},
    }
