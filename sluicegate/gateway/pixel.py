"""Events in the address of an image, for mail and pages without scripts.

Two forms: members in the query, with dots for nesting, as RudderStack's pixel has them
(`?writeKey=K&anonymousId=a&event=Opened&properties.list=news`), and Segment's `?data=` with the event as Base64 of JSON
(segment.com/docs/connections/sources/catalog/libraries/server/pixel-tracking-api).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from sluicegate.errors import BodyRefused
from sluicegate.gateway.answer import Answer
from sluicegate.gateway.routes import query_value

_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PIXEL = Answer(200, _GIF, b"image/gif", headers=((b"Cache-Control", b"no-store"),))
"""A transparent picture of one pixel that no cache keeps."""

MAX_PARAMETERS = 200
MAX_PLACES = 8
"""Depth of a dotted name."""


def event_of_query(query: bytes) -> bytes:
    """The event in a query as JSON; raises `BodyRefused`."""
    data = query_value(query, b"data")
    if data is not None:
        return _decoded(data)
    pairs = [pair for pair in query.split(b"&") if pair]
    if len(pairs) > MAX_PARAMETERS:
        raise BodyRefused("bad_query", f"send at most {MAX_PARAMETERS} parameters")
    event: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        _put(event, _text(name), _text(value))
    event.pop("writeKey", None)
    return msgspec.json.encode(event)


def _decoded(data: bytes) -> bytes:
    data = data.replace(b"-", b"+").replace(b"_", b"/").replace(b" ", b"+").rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BodyRefused("bad_query", "data is not Base64 of JSON") from None


def _text(quoted: bytes) -> str:
    try:
        return unquote_plus(quoted.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise BodyRefused("not_utf8", "a parameter is not percent-encoded UTF-8") from None


def _put(event: dict[str, Any], name: str, value: str) -> None:
    *places, last = name.split(".", MAX_PLACES)
    target = event
    for place in places:
        target = target.setdefault(place, {})
        if not isinstance(target, dict):
            raise BodyRefused("bad_query", f"{name} is inside of a text")
    if last in target:
        raise BodyRefused("bad_query", f"{name} is there twice")
    target[last] = value
