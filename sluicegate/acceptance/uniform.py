"""A batch in which nothing is odd, column by column: the path that nearly every request takes.

Checks that hold for all events at once cost a fraction of the same checks event by event. Whatever is odd about any of
the events makes `read_uniform` give up, and the batch is read one by one (`single`), with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from sluicegate.acceptance.body import KEYED_BYTES, Opened
from sluicegate.acceptance.combining import Combined, Key, More, Scope
from sluicegate.acceptance.head import (
    ABSENT,
    StrictBatch,
    StrictHead,
    WideBatch,
    WideContext,
    WideHead,
    contexts_decoded,
    said,
)
from sluicegate.acceptance.notice import CONSENT_EVENT
from sluicegate.acceptance.repeats import (
    ANONYMOUS_ID,
    BACKSLASH,
    ESCAPED_LETTER,
    GROUP_ID,
    INTEGRATIONS,
    MESSAGE_ID,
    MORE_NAMES,
    PREVIOUS_ID,
    USER_ID,
    any_repeats,
    batch_may_repeat,
    ids_may_repeat,
    telling_may_repeat,
)
from sluicegate.acceptance.screen import surely_fits
from sluicegate.acceptance.times import MAX_SKEW_MS, Clock, milliseconds, read_ms, write_ms
from sluicegate.acceptance.verdict import Acceptance, BadEvent, Reason
from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch

Id = str | int | UnsetType | None
"""As decoded: UNSET when the event does not have it."""

DEPTH_OF_BATCH = 2
"""An event lies in a list, in an object."""

_TRACK = {"track"}
_NEED_MORE_IDS = {"group", "alias"}

_NO_CONTEXT = WideContext()

_STRICT = msgspec.json.Decoder(StrictBatch)
_WIDE = msgspec.json.Decoder(WideBatch)
_DECODERS: tuple[msgspec.json.Decoder[Any], ...] = (_STRICT, _WIDE)


def read_uniform(body: bytes, opened: Opened, scope: Scope, clock: Clock, limits: GatewayConfig) -> Acceptance | None:
    """All events of a batch body, or None when one of them has to be looked at closely."""
    events = opened.events
    if not opened.sound or not opened.is_plain or clock.wrong or not events:
        return None
    sizes = list(map(len, events))
    if max(sizes) > min(limits.max_event_bytes, KEYED_BYTES):
        return None
    if not surely_fits(body, max_depth=limits.max_depth + DEPTH_OF_BATCH):
        return None
    heads = _heads(body)
    if heads is None or not _plain(heads, clock):
        return None
    ids = [head.userId for head in heads], [head.anonymousId for head in heads]
    n_bytes = sum(sizes)
    if batch_may_repeat(body, events, n_bytes) or _repeated(body, events, heads, ids):
        return None
    times_ms = milliseconds([head.timestamp for head in heads])
    if min(times_ms) < 0 or max(times_ms) > clock.latest_ms:
        return None
    try:
        combined = _combined(heads, _more(heads, body), scope)
    except BadEvent:
        return None
    n_consent = opened.consent_members + sum([one.own_members for one in combined])
    n_contexts = opened.has_context + sum([head.context is not None for head in heads])
    if telling_may_repeat(body, n_consent=n_consent, n_contexts=n_contexts):
        return None
    batch = _batch(heads, events, ids, combined, times_ms, clock, n_bytes=n_bytes)
    return Acceptance(batch, malformed_consent=sum([one.malformed for one in combined]))


def _heads(body: bytes) -> list[StrictHead] | None:
    """The heads of all events, if none is odd and none has two contexts."""
    if BACKSLASH in body and ESCAPED_LETTER.search(body):
        return None
    for decoder in _DECODERS:
        before = next(contexts_decoded)
        try:
            heads: list[StrictHead] = decoder.decode(body).batch
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        decoded = next(contexts_decoded) - before - 1
        return heads if decoded == sum([head.context is not None for head in heads]) else None
    return None


def _plain(heads: list[StrictHead], clock: Clock) -> bool:
    """Whether every event has what its type needs, and times that need no correction."""
    types = {head.type for head in heads}
    if types != _TRACK and (types & _NEED_MORE_IDS or not all([h.event or h.type != "track" for h in heads])):
        return False
    names = [head.event for head in heads]
    if (types == _TRACK and not all(names)) or CONSENT_EVENT in names:
        return False
    if not all([head.anonymousId or head.userId for head in heads]):
        return False
    if [head for head in heads if head.receivedAt is not ABSENT]:
        return False
    for sent_at in {head.sentAt for head in heads}:
        sent_ms = read_ms(sent_at)
        if sent_ms is not None and abs(clock.received_ms - sent_ms) > MAX_SKEW_MS:
            return False
    return True


def _repeated(body: bytes, events: list[bytes], heads: list[StrictHead], ids: tuple[list[Id], list[Id]]) -> bool:
    """Whether one of the events has a key twice that it may have once."""
    n_heads = len(heads)
    n_integrations = n_heads - [head.integrations for head in heads].count(ABSENT)
    if any_repeats(INTEGRATIONS, n_integrations, body, events):
        return True
    n_user, n_anonymous = [n_heads - column.count(UNSET) for column in ids]
    return ids_may_repeat(body, n_user + n_anonymous + n_heads) and (
        any_repeats(MESSAGE_ID, n_heads, body, events)
        or any_repeats(USER_ID, n_user, body, events)
        or any_repeats(ANONYMOUS_ID, n_anonymous, body, events)
        or any([any_repeats(name, 1, body, events) for name in (GROUP_ID, PREVIOUS_ID)])  # nobody decodes them here
    )


def _more(heads: list[StrictHead], body: bytes) -> list[More] | None:
    """What only few events have, None when no event has any of it; raises `BadEvent` when it may be there twice."""
    if not isinstance(heads[0], WideHead):
        return None
    rows = list(map(_raws_of, cast(list[WideHead], heads)))
    for name, column in zip(MORE_NAMES, zip(*rows, strict=True), strict=True):
        n_seen = sum([raw is not ABSENT for raw in column])
        if body.count(name) != n_seen:
            raise BadEvent(Reason.DUPLICATE_KEY)
    return [More(*map(said, row)) for row in rows]


def more_of(head: WideHead) -> More:
    """What this event has of what only few have."""
    return More(*map(said, _raws_of(head)))


def _raws_of(head: WideHead) -> tuple[Raw, Raw, Raw, Raw]:
    context = head.context or _NO_CONTEXT
    return context.tcf, head.gdpr_consent, context.gpc, context.jurisdiction


def _combined(heads: list[StrictHead], more: list[More] | None, scope: Scope) -> list[Combined]:
    """The combination of every event; raises `BadEvent`."""
    contexts = [head.context or _NO_CONTEXT for head in heads]
    stamps = [context.consent for context in contexts]
    others = (
        [head.consent for head in heads],
        [context.consentManagement for context in contexts],
        [head.integrations for head in heads],
    )
    kinds = [head.type for head in heads]
    # Most batches have one of these members or none: a column that nobody fills costs a comparison.
    filled = [column.count(ABSENT) != len(heads) for column in others]
    if more is None and not any(filled) and len(set(kinds)) == 1:
        return scope.of_stamps(kinds[0], map(bytes, stamps))
    consents, managed, integrations = [
        list(map(bytes, column)) if is_filled else [b""] * len(heads)
        for column, is_filled in zip(others, filled, strict=True)
    ]
    columns: list[list[Any]] = [kinds, consents, list(map(bytes, stamps)), managed, integrations]
    if more is not None:
        columns.append(more)
    keys: Iterable[Key] = zip(*columns, strict=True)
    return [scope[key] for key in keys]


def _batch(
    heads: list[StrictHead],
    events: list[bytes],
    ids: tuple[list[Id], list[Id]],
    combined: list[Combined],
    times_ms: list[int],
    clock: Clock,
    *,
    n_bytes: int,
) -> EventBatch:
    opening = b'{"receivedAt":"' + write_ms(clock.received_ms).encode() + b'",'
    return EventBatch(
        combos=[one.combo for one in combined],
        message_ids=[head.messageId for head in heads],
        user_ids=_texts(ids[0]),
        anonymous_ids=_texts(ids[1]),
        times_ms=times_ms,
        events=[event.replace(b"{", opening, 1) for event in events],  # each begins with it
        n_bytes=n_bytes + len(events) * (len(opening) - 1),
    )


def _texts(ids: list[Id]) -> list[str | None]:
    """Numbers as text and empty ids as none; the ids as they are when there is neither."""
    if "" not in ids and {str, type(None)}.issuperset(map(type, ids)):
        return ids  # type: ignore[return-value]
    return [None if one is UNSET or one is None or one == "" else str(one) for one in ids]
