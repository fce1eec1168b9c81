"""What is known about one subject and one purpose: four slots, each of which keeps its newest mark.

A mark is one number, twice its time in Unix milliseconds and one more for a denial; 0 is no mark. So the newer of two
marks is the greater one, and at equal times the denial. Joining is taking the maximum, which comes to the same in
whatever order marks arrive and however often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

MAX_MS = (1 << 46) - 1
"""In the year 4199; a mark takes six bytes."""


class Slot(IntEnum):
    """Where a mark belongs, by what it is evidence of."""

    ADMIN = 0
    """A withdrawal by the operator; holds denials only."""
    DECIDED = 1
    """Evidence with its own exact time of decision."""
    SEEN = 2
    """A stamp without such a time, as of the time of its event."""
    GPC = 3
    """Global Privacy Control; holds denials only."""


class Slots(NamedTuple):
    """The marks of one purpose; `until_ms` and `policy` are of the grant in `decided`, 0 and empty when it has none."""

    admin: int = 0
    decided: int = 0
    seen: int = 0
    gpc: int = 0
    until_ms: int = 0
    """When the grant ends."""
    policy: str = ""
    """The version of the privacy policy that it was given under."""


EMPTY = Slots()

_DENIALS_ONLY = frozenset({Slot.ADMIN, Slot.GPC})


class Write(NamedTuple):
    """One piece of evidence about one purpose."""

    slot: Slot
    granted: bool
    at_ms: int
    until_ms: int = 0
    policy: str = ""

    @property
    def slots(self) -> Slots:
        """Slots in which this is all there is; empty for a grant where only denials count."""
        if self.granted and self.slot in _DENIALS_ONLY:
            return EMPTY
        made = mark(self.granted, self.at_ms)
        if self.slot is Slot.SEEN:
            return Slots(0, 0, made)  # by place, since each event of somebody new makes one
        if self.slot is Slot.ADMIN:
            return Slots(admin=made)
        if self.slot is Slot.GPC:
            return Slots(gpc=made)
        if not self.granted:
            return Slots(decided=made)
        return Slots(decided=made, until_ms=min(max(self.until_ms, 0), MAX_MS), policy=self.policy)


def mark(granted: bool, at_ms: int) -> int:
    """The mark of a decision; times that no clock shows count as the nearest one that fits."""
    return 2 * min(max(at_ms, 1), MAX_MS) + (not granted)


def is_denial(mark: int) -> bool:
    """Whether there is a mark and it denies."""
    return mark & 1 == 1


def has_denial(slots: Slots) -> bool:
    """Whether one of the four marks denies."""
    admin, decided, seen, gpc, _, _ = slots
    return (admin | decided | seen | gpc) & 1 == 1


def time_of(mark: int) -> int:
    """When a mark was made, in Unix milliseconds."""
    return mark >> 1


def outlives_a_decision(before: Slots, after: Slots) -> bool:
    """Whether a denial that is seen again is only now newer than a decision, which it then overrules."""
    return is_denial(after.seen) and time_of(before.seen) <= time_of(before.decided) < time_of(after.seen)


def overruling(slots: Slots, known: Slots, now_ms: int) -> Slots:
    """The same, with denials that outlast a known grant from a time that has not come: our clock was ahead then."""
    until_ms = time_of(known.decided)
    if until_ms <= now_ms or is_denial(known.decided):
        return slots
    made = mark(False, until_ms + 1)
    admin, decided, seen = [max(one, made) if is_denial(one) else one for one in slots[:3]]
    return slots._replace(admin=admin, decided=decided, seen=seen)


def join(one: Slots, other: Slots) -> Slots:
    """The newest mark of each slot.

    Two grants of the same time hold until the earlier end, and under no policy when they name different ones.
    """
    if one is other or other is EMPTY:
        return one
    if one is EMPTY:
        return other
    if one.decided == other.decided:
        until_ms = min(filter(None, (one.until_ms, other.until_ms)), default=0)
        policy = one.policy if one.policy == other.policy else ""
    else:
        newer = one if one.decided > other.decided else other
        until_ms, policy = newer.until_ms, newer.policy
    return Slots(
        max(one.admin, other.admin),
        max(one.decided, other.decided),
        max(one.seen, other.seen),
        max(one.gpc, other.gpc),
        until_ms,
        policy,
    )


def joined(writes: Iterable[Write]) -> Slots:
    """The slots after these writes, in whatever order."""
    slots = EMPTY
    for write in writes:
        slots = join(slots, write.slots)
    return slots


def without_seen(slots: Slots) -> Slots:
    """What one id of a person passes on to another: all but what a single device was seen to say."""
    if not slots.seen:
        return slots
    return slots._replace(seen=0) if slots.admin or slots.decided or slots.gpc else EMPTY


def decided_by(slots: Slots, at_ms: int) -> Slots:
    """The marks that were made by then."""
    admin, decided, seen, gpc = [mark if time_of(mark) <= at_ms else 0 for mark in slots[:4]]
    return Slots(admin, decided, seen, gpc, *((slots.until_ms, slots.policy) if decided else ()))


Purposes = Mapping[str, Slots]
"""Slots by purpose; of a subject, or of one piece of evidence."""


def merge(many: Iterable[Purposes]) -> dict[str, Slots]:
    """Several ids of one person: per purpose and slot the newest."""
    merged: dict[str, Slots] = {}
    for purposes in many:
        for purpose, slots in purposes.items():
            known = merged.get(purpose)
            merged[purpose] = slots if known is None else join(known, slots)
    return merged
