"""The stamp: what an event itself says about consent, whichever dialect it says it in.

A dialect is one member of the event, read by one function that yields `(category, value)`, where the value counts
only when it is a JSON boolean. To read one more, add its member to `Parts` and its reader to `_READERS`. What its
subject decided earlier is joined with the stamp by whoever decides, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sluicegate.config.model import vendor_purpose
from sluicegate.consent.cookie import read_cookie_header
from sluicegate.consent.evidence import Evidence
from sluicegate.consent.moment import read_moment_ms
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.tcf import BadTcString, TcString, read_tc_string

MAX_CATEGORIES = 100
MAX_CATEGORY_LENGTH = 128
"""Consent tools use a handful of short ids (Segment: under 35 characters); the bound keeps a stamp small."""

_ABOUT_THE_DECISION = frozenset({"givenAt", "decidedAt"})
"""Members of c15t's consent object that tell when, not what."""

Pairs = tuple[tuple[str, Any], ...]


class Parts(NamedTuple):
    """The members of an event that tell consent, each as raw JSON; empty for one that the event does not have."""

    consent: bytes = b""
    """`consent`, of c15t and walkerOS."""
    segment: bytes = b""
    """`context.consent`."""
    rudderstack: bytes = b""
    """`context.consentManagement`."""
    tcf: bytes = b""
    """`context.tcf`, of IAB Europe's framework."""
    gdpr_consent: bytes = b""
    """`gdpr_consent`: a TC string by itself."""
    cookie: bytes = b""
    """The `Cookie` header of the request, as it is."""


class Stamp(NamedTuple):
    """The purposes that are decided, how many values could not be read, and whether `necessary` was refused."""

    decided: Mapping[str, bool]
    malformed: int = 0
    necessary_refused: bool = False


class DuplicateKey(ValueError):
    """A consent object has the same key twice, so that two readers could understand it differently."""


class _Malformed(ValueError):
    """A consent object is not shaped like its dialect."""


class How(NamedTuple):
    """What the configuration says about reading: the purposes of categories, and which vendors of TCF are asked for."""

    aliases: Mapping[str, str]
    vendors: tuple[int, ...] = ()


def read_stamp(
    parts: Parts, *, aliases: Mapping[str, str], vendors: tuple[int, ...] = (), known: Collection[str] = ()
) -> Stamp:
    """What these parts decide, the most restrictive for each purpose; raises `DuplicateKey`.

    `aliases` maps a category to the purpose that it stands for; a category without one is a purpose itself. A value
    that is no boolean leaves its purpose undecided whatever else grants it. After an object of the wrong shape nothing
    is granted at all, by no dialect, while what any dialect denies stays denied. Of a TC string the consent to each of
    `vendors` is a purpose of its own. Of more denials than there is room for those of the `known` purposes stay, which
    alone can be required.
    """
    how = How(aliases, vendors)
    votes: dict[str, list[object]] = {}
    malformed = misshapen = 0
    for raw, reader in zip(parts, _READERS, strict=True):
        if not raw:
            continue
        try:
            for category, value in reader(raw, how):
                malformed += not isinstance(value, bool)
                votes.setdefault(aliases.get(category, category), []).append(value)
        except _Malformed:
            misshapen += 1
    refused = False in votes.pop(NECESSARY, ())
    decided = {purpose: value for purpose, said in votes.items() if (value := _strictest(said)) is not None}
    if len(votes) > MAX_CATEGORIES:
        misshapen += 1
        decided = dict(sorted(decided.items(), key=lambda item: (item[1], item[0] not in known))[:MAX_CATEGORIES])
    if misshapen:
        decided = {purpose: False for purpose, granted in decided.items() if not granted}
    return Stamp(decided, malformed + misshapen, refused)


class Origin(NamedTuple):
    """What a stamp is as evidence: of which kind, and when the client says that it was decided, if it does."""

    evidence: Evidence = Evidence.STAMP
    decided_at_ms: int | None = None


def origin_of(parts: Parts) -> Origin:
    """Where a stamp comes from; times are the client's Unix milliseconds.

    Only the one dialect that is there can date a decision: of two, the time of one would become that of the other.
    """
    present = [name for name, raw in zip(Parts._fields, parts, strict=True) if raw]
    if present == ["cookie"]:
        found = read_cookie_header(parts.cookie.decode("latin-1"), aliases={})
        return Origin() if found is None else Origin(Evidence.COOKIE, found.at_ms)
    if present and _TCF.issuperset(present):
        try:
            times = {tc.updated_ms for tc in (*_tc_strings_in(parts.tcf), *_tc_strings(parts.gdpr_consent))}
        except ValueError:
            return Origin()
        return Origin(Evidence.TCF, times.pop()) if len(times) == 1 else Origin()
    return Origin(decided_at_ms=decided_at_ms(parts))


def decided_at_ms(parts: Parts) -> int | None:
    """When a stamp in JSON says that it was decided; None when it does not say, and for a stamp of two dialects."""
    present = [raw for raw in parts if raw]
    if len(present) != 1 or not any(name in present[0] for name in (b"givenAt", b"decidedAt")):
        return None
    try:
        members = _members(_parse(present[0]))
    except ValueError:
        return None
    times = {read_moment_ms(value) for name, value in members if name in _ABOUT_THE_DECISION}
    return times.pop() if len(times) == 1 else None


def _strictest(values: Iterable[object]) -> bool | None:
    """False if one value denies, True if all grant, None if something cannot be read."""
    said = list(values)
    if any(value is False for value in said):
        return False
    return True if all(value is True for value in said) else None


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw, object_pairs_hook=_unique_pairs)
    except DuplicateKey:
        raise
    except (ValueError, RecursionError) as error:
        raise _Malformed from error


def _unique_pairs(pairs: list[tuple[str, Any]]) -> Pairs:
    if len({key for key, _ in pairs}) < len(pairs):
        raise DuplicateKey
    return tuple(pairs)


def _members(value: object) -> Pairs:
    """The members of an object: parsed objects are tuples of pairs here, arrays are lists."""
    if not isinstance(value, tuple):
        raise _Malformed
    return value


def _named(pairs: Pairs) -> Iterator[tuple[str, object]]:
    """The pairs whose names fit; that others do not is told after them, for what is denied stays denied."""
    fitting = [pair for pair in pairs if len(pair[0]) <= MAX_CATEGORY_LENGTH]
    yield from fitting
    if len(fitting) < len(pairs):
        raise _Malformed


def _read_flat(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """c15t and walkerOS: `{"measurement": true, "marketing": false, "givenAt": 1700000000000}`."""
    yield from _named(tuple(pair for pair in _members(_parse(raw)) if pair[0] not in _ABOUT_THE_DECISION))


def _read_segment(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """Segment: `{"categoryPreferences": {"Advertising": false}}`."""
    for key, preferences in _members(_parse(raw)):
        if key == "categoryPreferences":
            yield from _named(_members(preferences))


def _read_rudderstack(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """RudderStack: `{"allowedConsentIds": [...], "deniedConsentIds": [...]}`; an id in both is denied."""
    members = _members(_parse(raw))
    for key, granted in (("deniedConsentIds", False), ("allowedConsentIds", True)):
        for name, ids in members:
            if name == key:
                yield from _listed(ids, granted)


def _listed(ids: object, granted: bool) -> Iterator[tuple[str, object]]:
    if not isinstance(ids, list):
        raise _Malformed
    texts = [item for item in ids if isinstance(item, str)]
    yield from _named(tuple((category, granted) for category in texts))
    if len(texts) < len(ids):
        raise _Malformed


def _read_tcf(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """IAB Europe: `{"tcString": "CQ..."}`."""
    return _said_by(_tc_strings_in(raw), how)


def _read_gdpr_consent(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """The same string where advertisers have it: `"gdpr_consent": "CQ..."`."""
    return _said_by(_tc_strings(raw), how)


def _said_by(strings: Iterable[TcString], how: How) -> Iterator[tuple[str, object]]:
    for tc in strings:
        yield from tc.decided.items()
        for vendor_id in how.vendors:
            yield vendor_purpose(vendor_id), tc.may_store and tc.allows(vendor_id)


def _tc_strings_in(raw: bytes) -> list[TcString]:
    """The TC string of an object that has one."""
    if not raw:
        return []
    return [tc for name, text in _members(_parse(raw)) if name == "tcString" for tc in _tc_strings(text)]


def _tc_strings(value: object) -> list[TcString]:
    """The TC string in a JSON text or its value; none in an empty one, which means that there is no framework here."""
    if isinstance(value, bytes):
        value = _parse(value) if value else None
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        raise _Malformed
    try:
        return [read_tc_string(value)]
    except BadTcString as error:
        raise _Malformed from error


def _read_cookie(raw: bytes, how: How) -> Iterator[tuple[str, object]]:
    """c15t's cookie; one that cannot be read says nothing."""
    found = read_cookie_header(raw.decode("latin-1"), aliases=how.aliases)
    if found is not None:
        yield from found.decided.items()


_TCF = frozenset({"tcf", "gdpr_consent"})
_READERS: tuple[Callable[[bytes, How], Iterator[tuple[str, object]]], ...] = (
    _read_flat,
    _read_segment,
    _read_rudderstack,
    _read_tcf,
    _read_gdpr_consent,
    _read_cookie,
)
