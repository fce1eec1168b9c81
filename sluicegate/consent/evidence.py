"""What is written to the ledger: evidence about one subject, and that two ids are one person."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.slots import Slot, Write
from sluicegate.consent.subject import Subject

DAY_MS = 86_400_000


class Evidence(IntEnum):
    """By which way something became known; the numbers are stored."""

    API = 1
    """`POST /v1/consent`."""
    OPERATOR = 2
    """The command line."""
    APPLICATION = 3
    """A message from a Python application."""
    PREFERENCE_EVENT = 4
    """Segment's `Segment Consent Preference Updated`."""
    CONSENT_EVENT = 5
    """c15t's event of type `consent`."""
    COOKIE = 6
    """c15t's cookie."""
    STAMP = 7
    """An event's own consent."""
    STAMP_AGAIN = 8
    """The same as was known, from a newer event; kept briefly."""
    TCF = 9
    """A TC string of IAB Europe's framework."""
    GPC = 10
    """Global Privacy Control, or Do Not Track where it is honoured."""
    IDENTIFY = 11
    ALIAS = 12
    ERASED = 13
    SUPPRESSED = 20
    """An operator said that nothing of this subject is taken any more, or that it is again."""


Writes = Mapping[str, tuple[Write, ...]]
"""What a piece of evidence says, by purpose."""


class Told(NamedTuple):
    """One piece of evidence about one subject; `source` is who sent it."""

    subject: Subject
    writes: Writes
    evidence: Evidence
    source: str = ""


class Link(NamedTuple):
    """The ids of `member` turned out at `at_ms` to be those of the user `owner`."""

    member: Subject
    owner: str
    at_ms: int
    evidence: Evidence = Evidence.IDENTIFY
    source: str = ""


Entry = Told | Link


def is_only_seen(entry: Entry) -> bool:
    """Whether this says nothing but what a device was seen to say, with no decision that has a time of its own."""
    if not isinstance(entry, Told):
        return False
    return all([write.slot is Slot.SEEN for said in entry.writes.values() for write in said])


def decision(
    decided: Mapping[str, bool], at_ms: int, *, received_ms: int, until_ms: int = 0, policy: str = ""
) -> Writes:
    """The writes of a decision with an exact time, which cannot lie after it was received."""
    at_ms = min(at_ms, received_ms)
    return {
        purpose: (Write(Slot.DECIDED, granted, at_ms, until_ms, policy),)
        for purpose, granted in decided.items()
        if purpose != NECESSARY
    }


def withdrawal(purposes: Mapping[str, bool] | tuple[str, ...], *, at_ms: int) -> Writes:
    """The writes of an operator who denies these purposes, until the person decides anew."""
    return {purpose: (Write(Slot.ADMIN, False, at_ms),) for purpose in purposes if purpose != NECESSARY}


def signal(purposes: tuple[str, ...], *, at_ms: int) -> Writes:
    """The writes of Global Privacy Control for the purposes that it denies."""
    return {purpose: (Write(Slot.GPC, False, at_ms),) for purpose in purposes if purpose != NECESSARY}


def stamp_writes(
    decided: Mapping[str, bool],
    *,
    time_ms: int,
    received_ms: int,
    decided_at_ms: int | None = None,
    day_precision: bool = False,
) -> Writes:
    """The writes of an event's stamp; `time_ms` is the event's time.

    With an exact time of decision it is a decision; without one it was seen. With the precision of a day
    (`day_precision`) a grant counts from the start of that day and a denial from the event on: else a refusal in the
    afternoon would lose to a grant in the morning.
    """
    if decided_at_ms is not None and not day_precision:
        return decision(decided, decided_at_ms, received_ms=received_ms)
    seen_ms = min(time_ms, received_ms)
    writes: dict[str, tuple[Write, ...]] = {}
    for purpose, granted in decided.items():
        if purpose == NECESSARY:
            continue
        seen = Write(Slot.SEEN, granted, seen_ms)
        if granted and decided_at_ms is not None:
            day_ms = min(decided_at_ms, received_ms) // DAY_MS * DAY_MS
            writes[purpose] = (seen, Write(Slot.DECIDED, True, day_ms))
        else:
            writes[purpose] = (seen,)
    return writes
