"""The body of a request: its limits, its members, and its events as they were sent."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import Raw, Struct

from sluicegate.acceptance.combining import Told
from sluicegate.acceptance.document import not_json, utf8_text
from sluicegate.acceptance.head import ABSENT, LooseContext, said
from sluicegate.acceptance.pieces import TOKEN, depth_exceeds, separators
from sluicegate.acceptance.repeats import (
    BACKSLASH,
    CONSENT,
    CONTEXT,
    ESCAPED_LETTER,
    MORE_NAMES,
    WHITESPACE,
    batch_has_duplicate,
    batch_may_repeat,
)
from sluicegate.acceptance.times import read_ms
from sluicegate.consent.stamp import Parts
from sluicegate.errors import BodyRefused

MAX_KEYS = 10_000
"""Of one event; Segment's limit."""
KEYED_BYTES = MAX_KEYS * len('"":0,')
"""An event of this size at most has no more keys than that."""

BRACKET, BRACE = b"[{"


class _Body(Struct):
    batch: list[Raw]
    sentAt: Raw = ABSENT
    consent: Raw = ABSENT
    context: Raw = ABSENT
    integrations: Raw = ABSENT
    gdpr_consent: Raw = ABSENT


_NO_EVENTS = Raw(b"[]")


class _Keyed(Struct):
    writeKey: Any = None


class _KeyedBatch(Struct):
    writeKey: Any = None
    batch: Raw = _NO_EVENTS


_BODY = msgspec.json.Decoder(_Body)
_CONTEXT = msgspec.json.Decoder(LooseContext)
_KEYED = msgspec.json.Decoder(_KeyedBatch)
_KEYED_EVENT = msgspec.json.Decoder(_Keyed)
_KEYED_EVENTS = msgspec.json.Decoder(list[_Keyed])
_ANY = msgspec.json.Decoder()


class Opened(NamedTuple):
    """A batch body: the raw events, what it says for all of them, and whether its syntax is right throughout."""

    events: list[bytes]
    default: Told
    sent_ms: int | None
    sound: bool
    consent_members: int
    """How many of the members that tell consent the body itself has, beside its events; those of `MORE_NAMES` apart."""
    is_plain: bool = True
    """Whether it has none of `MORE_NAMES`, not even null."""


def check_batch_size(body: bytes, *, max_bytes: int) -> None:
    """Refuse a batch that is too large; raises `BodyRefused`."""
    if len(body) > max_bytes:
        text = f"the batch has more than {max_bytes} bytes (max_batch_size); send smaller batches"
        raise BodyRefused("too_large", text, status=413)


def checked_text(body: bytes) -> bytes:
    """The body without a byte order mark; raises `BodyRefused` when it is not UTF-8."""
    return body if body.isascii() else utf8_text(body)


def is_text(body: bytes) -> bool:
    """Whether the body is UTF-8."""
    try:
        checked_text(body)
    except BodyRefused:
        return False
    return True


def open_batch(body: bytes, *, max_events: int, max_depth: int) -> Opened:
    """The members of a batch body; raises `BodyRefused` for one that is not a JSON object with a list `batch`."""
    try:
        decoded, events, sound = _BODY.decode(body), None, True
    except msgspec.ValidationError:
        raise _not_a_batch() from None
    except (msgspec.DecodeError, RecursionError):
        # One event with a NaN or half a surrogate pair makes the whole body no JSON; the others can be saved.
        decoded, events = _salvage(body, max_events=max_events)
        sound = False
    events = list(map(bytes, decoded.batch)) if events is None else events
    if len(events) > max_events:
        too_many(max_events)
    context = _context(decoded.context)
    default = _defaults(decoded, context, max_depth=max_depth)
    more = (decoded.gdpr_consent, context.tcf, context.gpc, context.jurisdiction)
    is_plain = all([raw is ABSENT for raw in more])
    n_consent = sum(map(bool, default.parts[:3]))
    return Opened(events, default, _sent_ms(decoded.sentAt), sound, n_consent, is_plain)


def check_own_keys(body: bytes, opened: Opened) -> None:
    """Refuse a batch body that itself, beside its events, has a key twice that it may have once; `BodyRefused`."""
    events = opened.events
    mentioned = batch_may_repeat(body, events, sum(map(len, events))) or _own_mentions(body, events)
    if mentioned and batch_has_duplicate(_without_events(body)[0], more=not opened.is_plain):
        raise BodyRefused("duplicate_key", "the batch has batch, writeKey, sentAt, integrations or consent twice")


def _own_mentions(body: bytes, events: Sequence[bytes]) -> bool:
    for name in (CONSENT, CONTEXT, *MORE_NAMES):
        n_all = body.count(name)
        if n_all > 1 and n_all - sum([event.count(name) for event in events]) > 1:
            return True
    return BACKSLASH in body and len(ESCAPED_LETTER.findall(body)) > sum(
        [len(ESCAPED_LETTER.findall(event)) for event in events]
    )


def write_key_of(body: bytes) -> str | None:
    """The `writeKey` of a body, or the one that its events agree on; None when there is none to be read.

    An event that is no JSON hides neither that of its batch nor that of the events beside it.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        found = _KEYED.decode(body)
        keys = [event.writeKey for event in _KEYED_EVENTS.decode(found.batch)] if found.writeKey is None else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found, keys = _salvaged_keys(body)
    named = [key for key in keys if key is not None]
    if found.writeKey is None and named and named.count(named[0]) == len(named):
        return _text(named[0])
    return _text(found.writeKey)


def _salvaged_keys(body: bytes) -> tuple[_KeyedBatch, list[Any]]:
    """What tells the key in a body that is no JSON as a whole."""
    rest, events = _without_events(body)
    if not events:
        return _KeyedBatch(), []
    keys = []
    for raw in events:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            keys.append(_KEYED_EVENT.decode(raw).writeKey)
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _KEYED.decode(rest), keys
    return _KeyedBatch(), []


def too_many_keys(raw: bytes) -> bool:
    """Whether the objects in an event have more than `MAX_KEYS` keys together; counts before it looks."""
    return len(raw) > KEYED_BYTES and sum(token[0] == b":" for token in TOKEN.finditer(raw)) > MAX_KEYS


def _salvage(body: bytes, *, max_events: int) -> tuple[_Body, list[bytes]]:
    """The batch without its events, and the text of each event, when the body as a whole can't be decoded."""
    rest, events = _without_events(body)
    if len(events) > max_events:
        too_many(max_events)
    try:
        decoded = _BODY.decode(rest)
    except (msgspec.DecodeError, RecursionError):
        raise not_json() from None
    if decoded.batch:
        raise not_json()
    return decoded, events


def _without_events(body: bytes) -> tuple[bytes, list[bytes]]:
    """The body with an empty `batch`, and what stood in it; the body itself when it has none that ends."""
    places = list(separators(body))
    if not places or body[places[-1]] != 0x5D:
        return body, []
    events = [body[start + 1 : end].strip(WHITESPACE) for start, end in pairwise(places)]
    return body[: places[0] + 1] + body[places[-1] :], [] if events == [b""] else events


def _context(raw: Raw) -> LooseContext:
    if raw is ABSENT or bytes(raw) == b"null":
        return LooseContext()
    try:
        return _CONTEXT.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise BodyRefused("context", "the batch's context must be an object") from None


def _defaults(decoded: _Body, context: LooseContext, *, max_depth: int) -> Told:
    parts = Parts(
        bytes(decoded.consent),
        bytes(context.consent),
        bytes(context.consentManagement),
        said(context.tcf),
        said(decoded.gdpr_consent),
    )
    told = Told(parts, bytes(decoded.integrations), said(context.gpc), said(context.jurisdiction))
    if any([depth_exceeds(raw, max_depth) for raw in (*parts, *told[1:]) if raw]):
        raise BodyRefused("too_deep", f"the batch's own members are nested more than {max_depth} deep (max_depth)")
    return told


def _sent_ms(raw: Raw) -> int | None:
    if raw is ABSENT:
        return None
    try:
        return read_ms(_ANY.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _not_a_batch() -> BodyRefused:
    return BodyRefused("not_a_batch", 'the body must be a JSON object with a list of events: {"batch": [...]}')


def too_many(max_events: int) -> NoReturn:
    """Refuse a body with too many events."""
    text = f"a batch may have {max_events} events (max_batch_events); send smaller batches"
    raise BodyRefused("too_many", text, status=413)
