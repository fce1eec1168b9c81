"""How a subject stands: what its slots come to for each purpose at a moment, under the rules in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sluicegate.config.model import ConsentConfig
from sluicegate.consent.requirement import NECESSARY, State
from sluicegate.consent.slots import EMPTY, Purposes, Slots, has_denial, is_denial, time_of

NEVER_MS = 1 << 62
"""A time that does not come."""


class Standing(NamedTuple):
    """The state of one purpose, since when, and until when nothing but a new write can change it."""

    state: State
    as_of_ms: int = 0
    until_ms: int = NEVER_MS


UNDECIDED = Standing(State.UNDECIDED)


@dataclass(frozen=True, slots=True)
class Rules:
    """When a grant has run out: after `ttl_ms` (None for never), and when not given under `require_policy`."""

    ttl_ms: int | None = None
    require_policy: str = ""
    """Version of the privacy policy; empty when any will do. A grant that names none was not given under it."""

    @classmethod
    def of(cls, config: ConsentConfig) -> Rules:
        """The rules of a configuration."""
        return cls(int(config.ttl_s * 1_000) or None, config.require_policy)


def derive(slots: Slots, rules: Rules, *, gpc: bool, now_ms: int) -> Standing:
    """The state of one purpose; `gpc` tells whether Global Privacy Control counts here.

    An explicit denial is overridden by nothing that has no date of its own, an explicit grant by a newer denial of any
    kind, a withdrawal by nothing but a newer explicit grant.
    """
    admin, decided, seen, signal, until_ms, policy = slots
    if gpc and is_denial(signal):
        return Standing(State.DENIED, time_of(signal))
    if is_denial(admin) and not (decided and not is_denial(decided) and time_of(decided) > time_of(admin)):
        return Standing(State.DENIED, time_of(admin))
    if is_denial(decided):
        return Standing(State.DENIED, time_of(decided))
    if is_denial(seen) and (not decided or time_of(seen) > time_of(decided)):
        return Standing(State.DENIED, time_of(seen))
    if decided:
        return _granted(time_of(decided), until_ms, policy, rules, now_ms)
    return _granted(time_of(seen), 0, "", rules, now_ms) if seen else UNDECIDED


def _granted(as_of_ms: int, until_ms: int, policy: str, rules: Rules, now_ms: int) -> Standing:
    """A grant, unless it has run out."""
    if rules.require_policy and policy != rules.require_policy:
        return UNDECIDED
    ends_ms = until_ms or NEVER_MS
    if rules.ttl_ms is not None:
        ends_ms = min(ends_ms, as_of_ms + rules.ttl_ms)
    return Standing(State.GRANTED, as_of_ms, ends_ms) if now_ms < ends_ms else UNDECIDED


class Standings:
    """How a subject stands on all purposes that are known of it, until `until_ms`."""

    __slots__ = ("by_purpose", "until_ms")

    def __init__(self, by_purpose: Mapping[str, Standing]) -> None:
        self.by_purpose = by_purpose
        self.until_ms = min([standing.until_ms for standing in by_purpose.values()], default=NEVER_MS)

    def of(self, purpose: str) -> Standing:
        """The standing of a purpose; `necessary` is always granted."""
        if purpose == NECESSARY:
            return _ALWAYS
        return self.by_purpose.get(purpose, UNDECIDED)


_ALWAYS = Standing(State.GRANTED)
NO_STANDINGS = Standings({})
"""Of everybody the ledger does not know; compare by identity."""


NO_END = (1 << 63) - 1
"""The offset up to which events of a subject are suppressed that is suppressed until further notice."""
ERASED, SUPPRESSED = "erased", "suppressed"
"""The reasons by which such events are counted."""


class SubjectConsent:
    """What the ledger knows of one subject over all its ids; `slots` is not to be changed.

    Its events up to the offset `erased_to` of the log were erased, and those up to `suppressed_to` may go nowhere.
    """

    __slots__ = (
        "_rules",
        "_with_gpc",
        "_without_gpc",
        "denied",
        "erased_to",
        "settled",
        "settled_until_ms",
        "slots",
        "suppressed_to",
    )

    def __init__(self, slots: Purposes, rules: Rules, *, erased_to: int = 0, suppressed_to: int = 0) -> None:
        self.slots = slots
        denied = [purpose for purpose, known in slots.items() if has_denial(known)]
        self.denied = _shared(frozenset(denied)) if denied else _NOTHING
        """The purposes with a denial in any slot: nothing that was granted of any other is overruled."""
        self.erased_to = erased_to
        self.suppressed_to = suppressed_to
        self.settled: object = None
        """Whoever reads what events tell may note here what this subject told last and the ledger knows."""
        self.settled_until_ms = 0
        """Until when (Unix ms) that need not be looked at again."""
        self._rules = rules
        self._without_gpc: Standings | None = None
        self._with_gpc: Standings | None = None

    @property
    def is_regulated(self) -> bool:
        """Whether there may be events that `barred` gives a reason for."""
        return bool(self.erased_to or self.suppressed_to)

    @property
    def is_suppressed(self) -> bool:
        """Whether nothing more is to be taken of this subject."""
        return self.suppressed_to == NO_END

    def barred(self, offset: int) -> str | None:
        """Why the event at this offset may go nowhere whatever anybody consented to; None when that is not so."""
        if offset <= self.erased_to:
            return ERASED
        return SUPPRESSED if offset <= self.suppressed_to else None

    def standings(self, *, gpc: bool, now_ms: int) -> Standings:
        """How the subject stands now, worked out again only when a grant has run out since."""
        known = self._with_gpc if gpc else self._without_gpc
        if known is not None and now_ms < known.until_ms:
            return known
        found = {
            purpose: derive(slots, self._rules, gpc=gpc, now_ms=now_ms)
            for purpose, slots in self.slots.items()
            if slots != EMPTY
        }
        standings = Standings(found) if found else NO_STANDINGS
        if gpc:
            self._with_gpc = standings
        else:
            self._without_gpc = standings
        return standings


_NOTHING: frozenset[str] = frozenset()


@lru_cache(maxsize=256)
def _shared(purposes: frozenset[str]) -> frozenset[str]:
    """The same set for all subjects, so that those of many events are few in a set of them."""
    return purposes


UNKNOWN_SUBJECT = SubjectConsent({}, Rules())
"""What is known of somebody the ledger has no entry for; compare by identity."""
