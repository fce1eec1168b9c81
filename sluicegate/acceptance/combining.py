"""From the raw consent and `integrations` of an event to its combination, remembered by those bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from sluicegate.acceptance.verdict import BadEvent, Reason
from sluicegate.consent.stamp import DuplicateKey, Parts, Stamp, decided_at_ms, read_stamp
from sluicegate.event import Combo, names_of, plain_name, stamp_of

MAX_INTEGRATIONS = 100

MAX_REMEMBERED, MAX_KEY_BYTES = 512, 1_024
"""Per source and batch default; what clients send differs by a few consent choices and versions of a site."""

MAX_SCOPES = 32
"""With the bounds above, hostile clients can fill about 25 MB."""

logger = logging.getLogger(__name__)


class Told(NamedTuple):
    """What one event, or a batch for all of its events, says about where events may go."""

    parts: Parts = Parts()
    integrations: bytes = b""


class Telling(Combo):
    """A combination whose events tell the consent ledger something; equal to the plain one, and stored as it.

    `decided_at_ms` is when the client says that the stamp was decided, None for the event about a decision, whose own
    time that is.
    """

    decided_at_ms: int | None

    @classmethod
    def of(cls, combo: Combo, decided_at_ms: int | None) -> Telling:
        """The combination with what it tells."""
        telling = cls(*combo)
        telling.decided_at_ms = decided_at_ms
        return telling


class Combined(NamedTuple):
    """A combination, how much of the consent behind it could not be read, and how many members told it."""

    combo: Combo
    malformed: int
    own_members: int
    """Of the event itself, not of its batch."""


Key = tuple[str, bytes, bytes, bytes, bytes]
"""Event type, then `consent`, `context.consent`, `context.consentManagement` and `integrations` as raw JSON."""


class Scope(dict[Key, Combined]):
    """The combinations of one source under one batch default; reading a key that is missing works it out."""

    def __init__(self, source: str, default: Told, *, aliases: Mapping[str, str]) -> None:
        self._source = source
        self._default = default
        self._aliases = aliases

    def __missing__(self, key: Key) -> Combined:
        """Work out a combination; raises `BadEvent`."""
        kind, consent, segment, rudderstack, integrations = key
        own = Parts(consent, segment, rudderstack)
        parts = own if any(own) else self._default.parts
        stamp = self._stamp(parts)
        off, on, all_off = _read_integrations(integrations or self._default.integrations)
        combo = Combo(kind, self._source, stamp_of(stamp.decided), names_of(off), names_of(on), all_off)
        if stamp.decided and (at_ms := decided_at_ms(parts)) is not None:
            combo = Telling.of(combo, at_ms)
        combined = Combined(combo, stamp.malformed, sum(map(bool, own)))
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        if sum(map(len, key)) <= MAX_KEY_BYTES:
            self[key] = combined
        return combined

    def _stamp(self, parts: Parts) -> Stamp:
        try:
            stamp = read_stamp(parts, aliases=self._aliases)
        except DuplicateKey:
            raise BadEvent(Reason.DUPLICATE_KEY) from None
        if stamp.necessary_refused:
            logger.info("consent refuses the purpose necessary, which has no effect: source=%s", self._source)
        return stamp


class Combiner:
    """The scopes in use, as many as the bound allows."""

    def __init__(self, *, aliases: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._scopes: dict[tuple[str, Told], Scope] = {}

    def scope(self, source: str, default: Told) -> Scope:
        """The combinations of this source under this batch default."""
        key = (source, default)
        scope = self._scopes.get(key)
        if scope is None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            scope = self._scopes[key] = Scope(source, default, aliases=self._aliases)
        return scope


def _read_integrations(raw: bytes) -> tuple[list[str], list[str], bool]:
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
