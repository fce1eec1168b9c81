"""From the raw consent and `integrations` of an event to its combination, remembered by those bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from sluicegate.acceptance.verdict import BadEvent, Reason
from sluicegate.acceptance.ways import NO_SIGNALS, Signals, Ways
from sluicegate.consent.evidence import Evidence
from sluicegate.consent.gpc import is_set_in_context
from sluicegate.consent.stamp import DuplicateKey, Origin, Parts, Stamp, origin_of, read_stamp
from sluicegate.event import Combo, names_of, plain_name, stamp_of

MAX_INTEGRATIONS = 100

MAX_REMEMBERED, MAX_KEY_BYTES = 512, 1_024
"""Per source and batch default; what clients send differs by a few consent choices and versions of a site."""

MAX_SCOPES = 32
"""With the bounds above, hostile clients can fill about 50 MB."""

Stamped = tuple[tuple[str, bool], ...]
"""The purposes that are decided, as `Combo.stamp` has them."""


class More(NamedTuple):
    """What few events have beside the members that most have, each as raw JSON; empty when it is not there."""

    tcf: bytes = b""
    """`context.tcf`."""
    gdpr_consent: bytes = b""
    gpc: bytes = b""
    """`context.gpc`."""
    jurisdiction: bytes = b""
    """`context.jurisdiction`."""


_NO_MORE = More()


class Told(NamedTuple):
    """What one event, or a batch for all of its events, says about where events may go."""

    parts: Parts = Parts()
    integrations: bytes = b""
    gpc: bytes = b""
    jurisdiction: bytes = b""


class Telling(Combo):
    """A combination whose events tell the consent ledger something else than an undated stamp; equal to the plain one,
    and stored as it.
    """

    told: Stamped
    """What is told: the stamp without what Global Privacy Control denies."""
    evidence: Evidence
    decided_at_ms: int | None
    """When the client says that it was decided."""
    policy: str
    gpc: bool

    @classmethod
    def of(
        cls,
        combo: Combo,
        *,
        told: Stamped,
        evidence: Evidence = Evidence.STAMP,
        decided_at_ms: int | None = None,
        policy: str = "",
        gpc: bool = False,
    ) -> Telling:
        """The combination with what it tells."""
        telling = cls(*combo)
        telling.told = told
        telling.evidence = evidence
        telling.decided_at_ms = decided_at_ms
        telling.policy = policy
        telling.gpc = gpc
        return telling

    def shifted(self, offset_ms: int) -> Telling:
        """The same with the time of the decision corrected for the client's clock."""
        if self.decided_at_ms is None:
            return self
        return Telling.of(
            self,
            told=self.told,
            evidence=self.evidence,
            decided_at_ms=self.decided_at_ms + offset_ms,
            policy=self.policy,
            gpc=self.gpc,
        )


class Combined(NamedTuple):
    """A combination, how much of the consent behind it could not be read, and how many members told it."""

    combo: Combo
    malformed: int
    own_members: int
    """Of the event itself, not of its batch; those that are in `Key`, not those in `More`."""


Key = tuple[str, bytes, bytes, bytes, bytes] | tuple[str, bytes, bytes, bytes, bytes, More]
"""Event type, then `consent`, `context.consent`, `context.consentManagement` and `integrations` as raw JSON."""


class Scope(dict[Key, Combined]):
    """The combinations of one source under one batch default; reading a key that is missing works it out."""

    def __init__(self, source: str, default: Told, *, ways: Ways, signals: Signals = NO_SIGNALS) -> None:
        self.source = source
        self.ways = ways
        self._default = default
        self._signals = signals
        self._default_parts = default.parts if any(default.parts) else Parts(cookie=signals.cookie)
        self._by_stamp: dict[str, _ByStamp] = {}

    def of_stamps(self, kind: str, stamps: Iterable[bytes]) -> list[Combined]:
        """The combinations of events of one type that tell consent in `context.consent` and nowhere else.

        A third of what it costs to go by the whole keys; raises `BadEvent`.
        """
        known = self._by_stamp.get(kind)
        if known is None:
            known = self._by_stamp[kind] = _ByStamp(self, kind)
        return list(map(known.__getitem__, stamps))

    def integrations(self, own: bytes) -> tuple[list[str], list[str], bool]:
        """What an event's own `integrations`, or else its batch's, say; see `read_integrations`. Raises `BadEvent`."""
        return read_integrations(own or self._default.integrations)

    def __missing__(self, key: Key) -> Combined:
        """Work out a combination; raises `BadEvent`."""
        kind, consent, segment, rudderstack, integrations = key[:5]
        more: More = key[5] if len(key) > 5 else _NO_MORE
        own = Parts(consent, segment, rudderstack, more.tcf, more.gdpr_consent)
        parts = own if any(own) else self._default_parts
        stamp = self._stamp(parts)
        combo = self._combo(kind, stamp, parts, integrations, more)
        combined = Combined(combo, stamp.malformed, sum(map(bool, own[:3])))
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        if sum(map(len, key[:5])) + sum(map(len, more)) <= MAX_KEY_BYTES:
            self[key] = combined
        return combined

    def _combo(self, kind: str, stamp: Stamp, parts: Parts, integrations: bytes, more: More) -> Combo:
        place = self._place(more)
        gpc = self._has_gpc(more, place)
        told = shared_stamp(stamp_of(stamp.decided))
        denied = dict.fromkeys(self.ways.gpc_purposes, False) if gpc else {}
        whole = shared_stamp(stamp_of({**stamp.decided, **denied})) if denied else told
        off, on, all_off = self.integrations(integrations)
        unasked = self.ways.notes_unasked and not any(parts)
        combo = Combo(kind, self.source, whole, names_of(off), names_of(on), all_off, place, unasked)
        origin = origin_of(parts) if stamp.decided else Origin()
        if origin == Origin() and not gpc:
            return combo
        return Telling.of(combo, told=told, evidence=origin.evidence, decided_at_ms=origin.decided_at_ms, gpc=gpc)

    def _place(self, more: More) -> str:
        said = _value(more.jurisdiction or self._default.jurisdiction)
        place = self.ways.policies.place(event_says=said)
        return place or self._signals.place

    def _has_gpc(self, more: More, place: str) -> bool:
        """Whether Global Privacy Control is set, and counts."""
        if not self.ways.policies.of_place(place).honors_gpc:
            return False
        said = (more.gpc, self._default.gpc)
        return self._signals.gpc or any(is_set_in_context(_value(raw)) for raw in said)

    def _stamp(self, parts: Parts) -> Stamp:
        try:
            ways = self.ways
            stamp = read_stamp(parts, aliases=ways.aliases, vendors=ways.vendors, known=ways.purposes)
        except DuplicateKey:
            raise BadEvent(Reason.DUPLICATE_KEY) from None
        if stamp.necessary_refused:
            self.ways.note_refusal(self.source)
        return stamp


class _ByStamp(dict[bytes, Combined]):
    """Those of a scope's combinations of one type that only `context.consent` tells, by its raw JSON."""

    def __init__(self, scope: Scope, kind: str) -> None:
        self._scope = scope
        self._kind = kind

    def __missing__(self, stamp: bytes) -> Combined:
        combined = self._scope[(self._kind, b"", stamp, b"", b"")]
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        if len(stamp) <= MAX_KEY_BYTES:
            self[stamp] = combined
        return combined


class Combiner:
    """The scopes in use, as many as the bound allows."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._scopes: dict[tuple[str, Told, Signals], Scope] = {}

    def scope(self, source: str, default: Told, signals: Signals = NO_SIGNALS) -> Scope:
        """The combinations of this source under this batch default, with what the request says."""
        key = (source, default, signals)
        scope = self._scopes.get(key)
        if scope is None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            scope = self._scopes[key] = Scope(source, default, ways=self._ways, signals=signals)
        return scope


@lru_cache(maxsize=4_096)
def shared_stamp(stamp: Stamped) -> Stamped:
    """Equal stamps as one object, so that they can be compared by identity."""
    return stamp


def _value(raw: bytes) -> object:
    """What a small member says; None when it is not there, or no JSON."""
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def read_integrations(raw: bytes) -> tuple[list[str], list[str], bool]:
    """What is off, what is on, and whether all else is off; anything but true or an object of options is off."""
    if not raw:
        return [], [], False
    try:
        # Objects become tuples of pairs, so that a name given twice is seen twice; the one that is off wins.
        value: Any = json.loads(raw, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise BadEvent(Reason.INTEGRATIONS) from None
    if value is None:
        return [], [], False
    if not isinstance(value, tuple) or len(value) > MAX_INTEGRATIONS:
        raise BadEvent(Reason.INTEGRATIONS)
    off: list[str] = []
    on: list[str] = []
    for name, wanted in value:
        (on if wanted is True or isinstance(wanted, tuple) else off).append(name)
    return (
        [name for name in off if plain_name(name) != "all"],
        [name for name in on if plain_name(name) != "all"],
        any(plain_name(name) == "all" for name in off),
    )
