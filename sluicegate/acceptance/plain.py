"""One event in which nothing is odd: the path of nearly every request that carries a single event.

The same checks as in `uniform`, for one event; what is odd makes `read_plain` give up, and `single` finds out why.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from sluicegate.acceptance.body import BRACE, BRACKET, KEYED_BYTES
from sluicegate.acceptance.combining import Key, More, Scope
from sluicegate.acceptance.head import ABSENT, StrictHead, WideContext, WideHead, contexts_decoded, said
from sluicegate.acceptance.notice import CONSENT_EVENT
from sluicegate.acceptance.repeats import (
    BACKSLASH,
    ESCAPED_LETTER,
    ID_NAMES,
    INTEGRATIONS,
    ids_may_repeat,
    more_repeats,
    telling_may_repeat,
)
from sluicegate.acceptance.screen import surely_fit
from sluicegate.acceptance.times import EPOCH, MAX_SKEW_MS, MILLISECOND, Clock, read_ms, write_ms
from sluicegate.acceptance.verdict import Acceptance, BadEvent
from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch

_STRICT = msgspec.json.Decoder(StrictHead)
_WIDE = msgspec.json.Decoder(WideHead)
_NO_CONTEXT = WideContext()
_NEED_NO_MORE = frozenset({"track", "page", "screen", "identify"})


def read_plain(raw: bytes, kind: str, scope: Scope, clock: Clock, limits: GatewayConfig) -> Acceptance | None:
    """The event in a body that was sent to the address of `kind`, or None when it has to be looked at closely."""
    if len(raw) > min(limits.max_event_bytes, KEYED_BYTES) or raw[:1] + raw[-1:] != b"{}" or kind not in _NEED_NO_MORE:
        return None
    if raw.count(BRACE) + raw.count(BRACKET) > limits.max_depth:
        return None
    head = _decode(raw)
    if head is None or head.type != kind or not _is_plain(head, clock):
        return None
    time_ms = (head.timestamp - EPOCH) // MILLISECOND
    if not 0 <= time_ms <= clock.latest_ms:
        return None
    context = head.context or _NO_CONTEXT
    key: Key = (
        head.type,
        bytes(head.consent),
        bytes(context.consent),
        bytes(context.consentManagement),
        bytes(head.integrations),
    )
    if isinstance(head, WideHead):
        if more_repeats(raw):
            return None
        wide = head.context or _NO_CONTEXT
        raws = wide.tcf, head.gdpr_consent, wide.gpc, wide.jurisdiction
        key = (*key[:5], More(*map(said, raws)))
    try:
        combined = scope[key]
    except BadEvent:
        return None
    if telling_may_repeat(raw, combined.own_members):
        return None
    if _repeats(raw, head) or not surely_fit(raw):
        return None
    event = b'{"receivedAt":"' + write_ms(clock.received_ms).encode() + b'",' + raw[1:]
    batch = EventBatch(
        [combined.combo],
        [head.messageId],
        [_text(head.userId)],
        [_text(head.anonymousId)],
        [time_ms],
        [event],
        len(event),
    )
    return Acceptance(batch, malformed_consent=combined.malformed)


def _decode(raw: bytes) -> StrictHead | None:
    """The head, if the decoder finds nothing odd and no second context."""
    if BACKSLASH in raw and ESCAPED_LETTER.search(raw):
        return None
    for decoder in (_STRICT, _WIDE):
        before = next(contexts_decoded)
        try:
            head: StrictHead = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        decoded = next(contexts_decoded) - before - 1
        return head if decoded == (head.context is not UNSET) else None
    return None


def _is_plain(head: StrictHead, clock: Clock) -> bool:
    if not (head.anonymousId or head.userId) or head.receivedAt is not ABSENT:
        return False
    if head.type == "track" and (not head.event or head.event == CONSENT_EVENT):
        return False
    sent_ms = read_ms(head.sentAt)
    return sent_ms is None or abs(clock.received_ms - sent_ms) <= MAX_SKEW_MS


def _repeats(raw: bytes, head: StrictHead) -> bool:
    """Whether a key that may be there once can be there twice; one of the properties may have its name."""
    if head.integrations is not ABSENT and raw.count(INTEGRATIONS) > 1:
        return True
    n_ids = 1 + (head.userId is not UNSET) + (head.anonymousId is not UNSET)
    return ids_may_repeat(raw, n_ids) and any([raw.count(name) > 1 for name in ID_NAMES])


def _text(one: str | int | UnsetType | None) -> str | None:
    return None if one is UNSET or one is None or one == "" else str(one)
