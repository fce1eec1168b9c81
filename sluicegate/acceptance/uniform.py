"""Events in which nothing is odd, column by column: the path that nearly every request takes.

Checks that hold for all events at once cost a fraction of the same checks event by event. Whatever is odd about any of
the events makes `read_uniform` and `read_together` give up, and they are read one by one (`single`), with the same
result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET

from sluicegate.acceptance.body import KEYED_BYTES, Opened, is_text
from sluicegate.acceptance.columns import Columns, Id, of_batch, of_events
from sluicegate.acceptance.combining import Combined, Key, Scope
from sluicegate.acceptance.head import ABSENT
from sluicegate.acceptance.notice import CONSENT_EVENT
from sluicegate.acceptance.repeats import (
    ANONYMOUS_ID,
    GROUP_ID,
    INTEGRATIONS,
    MESSAGE_ID,
    PREVIOUS_ID,
    USER_ID,
    any_repeats,
    batch_may_repeat,
    ids_may_repeat,
    telling_may_repeat,
)
from sluicegate.acceptance.screen import surely_fits
from sluicegate.acceptance.times import MAX_SKEW_MS, Clock, milliseconds, read_ms, write_ms
from sluicegate.acceptance.verdict import Acceptance, BadEvent
from sluicegate.config.model import GatewayConfig
from sluicegate.event import EventBatch

DEPTH_OF_BATCH = 2
"""An event of a batch lies in a list, in an object."""
DEPTH_OF_LIST = 1

_TRACK = {"track"}
_NEED_MORE_IDS = {"group", "alias"}
_BRACES = b"{}"
_TEXT_OR_NONE = frozenset({str, type(None)})


def read_uniform(body: bytes, opened: Opened, scope: Scope, clock: Clock, limits: GatewayConfig) -> Acceptance | None:
    """All events of a batch body, or None when one of them has to be looked at closely."""
    events = opened.events
    if not opened.sound or not opened.is_plain or clock.wrong or not events:
        return None
    n_bytes = _size(events, limits)
    if n_bytes is None or not surely_fits(body, max_depth=limits.max_depth + DEPTH_OF_BATCH):
        return None
    columns = of_batch(body)
    if columns is None or batch_may_repeat(body, events, n_bytes):
        return None
    return _accepted(body, events, columns, scope, clock, n_bytes=n_bytes, n_consent=opened.consent_members)


def read_together(events: Sequence[bytes], scope: Scope, clock: Clock, limits: GatewayConfig) -> Acceptance | None:
    """The same of events that came apart, such as in a request each."""
    n_bytes = _size(events, limits)
    if n_bytes is None or any([event[:1] + event[-1:] != _BRACES for event in events]):
        return None
    text = b"[" + b",".join(events) + b"]"
    columns = of_events(events, text) if is_text(text) else None
    if columns is None or not surely_fits(text, max_depth=limits.max_depth + DEPTH_OF_LIST):
        return None
    return _accepted(text, events, columns, scope, clock, n_bytes=n_bytes, n_consent=0)


def _size(events: Sequence[bytes], limits: GatewayConfig) -> int | None:
    """How many bytes the events have together; None when one is too large for this path."""
    sizes = list(map(len, events))
    return None if max(sizes) > min(limits.max_event_bytes, KEYED_BYTES) else sum(sizes)


def _accepted(
    text: bytes,
    events: Sequence[bytes],
    columns: Columns,
    scope: Scope,
    clock: Clock,
    *,
    n_bytes: int,
    n_consent: int,
) -> Acceptance | None:
    """Those of the `text`, which has `n_consent` members beside them that tell consent."""
    if not _plain(columns, clock) or _repeated(text, events, columns):
        return None
    times_ms = milliseconds(columns.moments)
    if min(times_ms) < 0 or max(times_ms) > clock.latest_ms:
        return None
    try:
        combined = _combined(columns, text, scope)
    except BadEvent:
        return None
    combos, malformed, own_members = zip(*combined, strict=True)
    if telling_may_repeat(text, n_consent + sum(own_members)):
        return None
    opening = b'{"receivedAt":"' + write_ms(clock.received_ms).encode() + b'",'
    batch = EventBatch(
        combos=list(combos),
        message_ids=list(columns.message_ids),
        user_ids=_texts(columns.user_ids),
        anonymous_ids=_texts(columns.anonymous_ids),
        times_ms=times_ms,
        events=[event.replace(b"{", opening, 1) for event in events],  # each begins with it
        n_bytes=n_bytes + len(events) * (len(opening) - 1),
    )
    return Acceptance(batch, malformed_consent=sum(malformed))


def _plain(columns: Columns, clock: Clock) -> bool:
    """Whether every event has what its type needs, and times that need no correction."""
    kinds, names = set(columns.kinds), columns.names
    if kinds != _TRACK:
        named = [name or kind != "track" for name, kind in zip(names, columns.kinds, strict=True)]
        if kinds & _NEED_MORE_IDS or not all(named):
            return False
    elif not all(names):
        return False
    if CONSENT_EVENT in names or columns.received_at.count(ABSENT) != len(names):
        return False
    if not all(columns.anonymous_ids):
        ids = zip(columns.anonymous_ids, columns.user_ids, strict=True)
        if not all([anonymous or user for anonymous, user in ids]):
            return False
    for sent_at in set(columns.sent_at):
        sent_ms = read_ms(sent_at)
        if sent_ms is not None and abs(clock.received_ms - sent_ms) > MAX_SKEW_MS:
            return False
    return True


def _repeated(text: bytes, events: Sequence[bytes], columns: Columns) -> bool:
    """Whether one of the events has a key twice that it may have once."""
    n_events = len(events)
    n_integrations = n_events - columns.integrations.count(ABSENT)
    if any_repeats(INTEGRATIONS, n_integrations, text, events):
        return True
    n_user, n_anonymous = n_events - columns.user_ids.count(UNSET), n_events - columns.anonymous_ids.count(UNSET)
    return ids_may_repeat(text, n_user + n_anonymous + n_events) and (
        any_repeats(MESSAGE_ID, n_events, text, events)
        or any_repeats(USER_ID, n_user, text, events)
        or any_repeats(ANONYMOUS_ID, n_anonymous, text, events)
        or any([any_repeats(name, 1, text, events) for name in (GROUP_ID, PREVIOUS_ID)])  # nobody decodes them here
    )


def _combined(columns: Columns, text: bytes, scope: Scope) -> list[Combined]:
    """The combination of every event; raises `BadEvent`."""
    contexts = columns.whole_contexts
    more = columns.more(contexts, text)
    kinds = columns.kinds
    stamps = map(bytes, [one.consent for one in contexts])
    others = (columns.consents, [one.consentManagement for one in contexts], columns.integrations)
    # Most batches have one of these members or none: a column that nobody fills costs a comparison.
    filled = [column.count(ABSENT) != len(kinds) for column in others]
    if more is None and not any(filled) and kinds.count(kinds[0]) == len(kinds):
        return scope.of_stamps(kinds[0], stamps)
    consents, managed, integrations = [
        list(map(bytes, column)) if is_filled else [b""] * len(kinds)
        for column, is_filled in zip(others, filled, strict=True)
    ]
    parts: list[Iterable[Any]] = [kinds, consents, stamps, managed, integrations]
    if more is not None:
        parts.append(more)
    keys: Iterable[Key] = zip(*parts, strict=True)
    return [scope[key] for key in keys]


def _texts(ids: Sequence[Id]) -> list[str | None]:
    """Numbers as text and empty ids as none; the ids as they are when there is neither."""
    if "" not in ids and _TEXT_OR_NONE.issuperset(map(type, ids)):
        return list(ids)  # type: ignore[arg-type]
    return [None if one is UNSET or one is None or one == "" else str(one) for one in ids]
