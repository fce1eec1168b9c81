"""Keys that may be there once only: what tells who sent an event, and where it may go.

Of two members with one name the last wins in most parsers, but not in all of them: an event that has such a key twice
has two readings. Elsewhere in an event, in its properties for instance, the last one wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from sluicegate.consent.stamp import DuplicateKey

BACKSLASH = b"\\"[0]
WHITESPACE = b" \t\r\n"
CONSENT, CONTEXT = b'"consent', b'"context"'
"""What the keys that tell consent begin with, `consentManagement` among them, and the other place where they can be."""

MORE_NAMES = TCF, GDPR_CONSENT, GPC, JURISDICTION = b'"tcf"', b'"gdpr_consent"', b'"gpc"', b'"jurisdiction"'
"""The keys that few events have, in the order of `More`."""

ID_NAMES = USER_ID, ANONYMOUS_ID, MESSAGE_ID, GROUP_ID, PREVIOUS_ID = (
    b'"userId"',
    b'"anonymousId"',
    b'"messageId"',
    b'"groupId"',
    b'"previousId"',
)
INTEGRATIONS = b'"integrations"'

ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""A letter written as an escape, which hides a key from a search for its name; no serializer does that."""

_TELLING = frozenset({"consent", "consentManagement"})
"""Once in any object."""
_TELLING_MORE = _TELLING | {"tcf", "gdpr_consent", "gpc", "jurisdiction"}
"""Once in any object where one of the last four tells consent."""
_OF_EVENT = frozenset({"userId", "anonymousId", "messageId", "groupId", "previousId", "integrations", "context"})
"""Once in the event itself."""
_OF_BATCH = frozenset({"batch", "writeKey", "sentAt", "integrations", "context"})
"""Once in the body of a batch itself."""

_EVENT_NAMES = tuple(f'"{name}"'.encode() for name in sorted(_OF_EVENT))
_BATCH_NAMES = tuple(f'"{name}"'.encode() for name in sorted(_OF_BATCH))


def may_repeat(raw: bytes) -> bool:
    """Whether a key that may be there once can be there twice; asks for the names before anybody parses for them."""
    if raw.count(CONSENT) > 1 or any([raw.count(name) > 1 for name in _EVENT_NAMES]):
        return True
    return _hides_names(raw)


def more_repeats(raw: bytes) -> bool:
    """The same for an event that has one of the keys of `MORE_NAMES`, which `may_repeat` does not look for."""
    return any([raw.count(name) > 1 for name in MORE_NAMES]) or _hides_names(raw)


def _hides_names(raw: bytes) -> bool:
    return BACKSLASH in raw and ESCAPED_LETTER.search(raw) is not None


def has_duplicate(raw: bytes, *, more: bool = False) -> bool:
    """Whether an event has a key twice that may be there once; with `more` those of `MORE_NAMES` may, too."""
    return _repeats(raw, _OF_EVENT, more=more)


def batch_has_duplicate(rest: bytes, *, more: bool) -> bool:
    """The same of the body of a batch, without its events."""
    return _repeats(rest, _OF_BATCH, more=more)


def telling_may_repeat(text: bytes, n_consent: int) -> bool:
    """Whether what tells consent can be there more often than so many times: in a value, or twice in some object."""
    return text.count(CONSENT) != n_consent


def ids_may_repeat(body: bytes, n_ids: int) -> bool:
    """Whether an id can be there twice in a body whose events have so many of the first three ids together.

    `I` is rare in text and in each of these names. It is counted by leaving it out: that looks for it with memchr, so
    that it takes a quarter of the time of `bytes.count`, and a tenth of what the search for the names takes.
    """
    return len(body) - len(body.replace(b"I", b"")) > n_ids


def any_repeats(name: bytes, n_seen: int, body: bytes, events: Sequence[bytes]) -> bool:
    """Whether one of these events, which together are the body, has this key twice; `n_seen` of them have it."""
    # A name that no event has cannot be there twice, and need not be searched for.
    if not n_seen or body.count(name) <= n_seen:
        return False
    return any([has_duplicate(event) for event in events if event.count(name) > 1])


def batch_may_repeat(body: bytes, events: Sequence[bytes], n_bytes: int) -> bool:
    """Whether a batch body beside its events, which have `n_bytes` together, can have a key twice."""
    rest = _beside(body, events, n_bytes) if events else body
    if rest is None or any([rest.count(name) > 1 for name in _BATCH_NAMES]):
        return True
    return BACKSLASH in rest


def _beside(body: bytes, events: Sequence[bytes], n_bytes: int) -> bytes | None:
    """What stands before and after the events, or None if there may be something between them."""
    # The events lie nowhere but from here to there: the last `batch` counts, and this is the first.
    start = body.find(b"[", body.find(b'"batch"')) + 1
    end = body.rfind(events[-1]) + len(events[-1])
    n_between, n_commas = end - start - n_bytes, len(events) - 1
    if n_between != n_commas:  # not merely commas between them
        start += len(body[start:end]) - len(body[start:end].lstrip(WHITESPACE))
        behind = start + len(events[0])
        comma = body[behind : behind + (end - start - n_bytes) // n_commas] if n_commas else b""
        if body[start:end] != comma.join(events) or comma.strip(WHITESPACE) != b","[:n_commas]:
            return None
    return body[:start] + body[end:]


def _repeats(raw: bytes, once: frozenset[str], *, more: bool) -> bool:
    try:
        members = (_MORE_NAMES if more else _NAMES).decode(raw.decode())
    except DuplicateKey:
        return True
    except (ValueError, RecursionError):
        return False
    names = [name for name in members if name in once] if isinstance(members, tuple) else []
    return len(names) > len(set(names))


def _reader_of_names(telling: frozenset[str]) -> json.JSONDecoder:
    """Reads the names in an object, which stand for it; arrays stay lists. Raises `DuplicateKey` for one of these."""

    def names_of(pairs: list[tuple[str, Any]]) -> tuple[str, ...]:
        names = tuple([name for name, _ in pairs])
        told = [name for name in names if name in telling]
        if len(told) > len(set(told)):
            raise DuplicateKey
        return names

    return json.JSONDecoder(object_pairs_hook=names_of)


_NAMES, _MORE_NAMES = _reader_of_names(_TELLING), _reader_of_names(_TELLING_MORE)
