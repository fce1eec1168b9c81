"""What accepted events bring to the ledger, and which of it is worth writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sluicegate.consent.evidence import Entry, Evidence, Link, Told, Writes, decision, signal, stamp_writes
from sluicegate.consent.slots import (
    EMPTY,
    Slot,
    Slots,
    is_denial,
    join,
    joined,
    outlives_a_decision,
    overruling,
    time_of,
)
from sluicegate.consent.standing import SubjectConsent
from sluicegate.consent.subject import Subject

REFRESH_MS = 60_000
"""How long it may take until it is on disk that a device said the same again."""
MAX_WAITING = 20_000

_DECISIONS = frozenset({Evidence.PREFERENCE_EVENT, Evidence.CONSENT_EVENT})


@dataclass(frozen=True, slots=True)
class Collected:
    """What the ledger needs of one accepted event; times are corrected Unix milliseconds."""

    type: str
    subject: Subject
    time_ms: int
    decided: Mapping[str, bool]
    """What it decides, Global Privacy Control left aside."""
    evidence: Evidence = Evidence.STAMP
    """What it is: a stamp of some kind, or an event about a decision, whose own time is that of the decision."""
    decided_at_ms: int | None = None
    """When it says that this was decided."""
    policy: str = ""
    """The version of the privacy policy that it names."""
    previous_id: str | None = None
    """Of an alias event."""
    gpc: bool = False
    """Whether Global Privacy Control is set where it is honoured."""


def entries_of(event: Collected, *, received_ms: int, source: str, gpc_purposes: tuple[str, ...] = ()) -> list[Entry]:
    """The entries that one event makes; none for an event without a subject."""
    subject = event.subject
    if subject.is_nobody:
        return []
    entries: list[Entry] = []
    if event.decided:
        entries.append(Told(subject, _writes(event, received_ms), event.evidence, source))
    if event.gpc and gpc_purposes:
        at_ms = min(event.time_ms, received_ms)
        entries.append(Told(subject, signal(gpc_purposes, at_ms=at_ms), Evidence.GPC, source))
    entries += _links(event, received_ms, source)
    return entries


def _writes(event: Collected, received_ms: int) -> Writes:
    at_ms = event.decided_at_ms
    if event.evidence in _DECISIONS:
        at_ms = event.time_ms if at_ms is None else at_ms
        return decision(event.decided, at_ms, received_ms=received_ms, policy=event.policy)
    return stamp_writes(
        event.decided,
        time_ms=event.time_ms,
        received_ms=received_ms,
        decided_at_ms=at_ms,
        day_precision=event.evidence is Evidence.TCF,
    )


def _links(event: Collected, received_ms: int, source: str) -> list[Entry]:
    user_id, anonymous_id = event.subject
    at_ms = min(event.time_ms, received_ms)
    if event.type == "identify" and user_id and anonymous_id:
        return [Link(Subject(anonymous_id=anonymous_id), user_id, at_ms, Evidence.IDENTIFY, source)]
    if event.type == "alias" and user_id and event.previous_id:
        member = Subject(event.previous_id, event.previous_id)  # Segment lets it be either kind
        return [Link(member, user_id, at_ms, Evidence.ALIAS, source)]
    return []


class News(Enum):
    """How much of a piece of evidence the ledger does not know."""

    NONE = auto()
    AGAIN = auto()
    """Only that a device said the same at a later time."""
    CHANGE = auto()


def news_in(writes: Writes, known: SubjectConsent, *, now_ms: int) -> News:
    """How much of these writes is not known of the subject that they are about."""
    news = News.NONE
    for purpose, said in writes.items():
        before = known.slots.get(purpose, EMPTY)
        after = join(before, overruling(joined(said), before, now_ms))
        if after == before:
            continue
        if _is_only_again_gpc(before, after):
            continue
        again = before.seen and is_denial(before.seen) == is_denial(after.seen)
        if not again or before._replace(seen=0) != after._replace(seen=0):
            return News.CHANGE
        if outlives_a_decision(before, after):
            return News.CHANGE
        news = News.AGAIN
    return news


def _is_only_again_gpc(before: Slots, after: Slots) -> bool:
    """Whether the signal was known: it denies without regard to its time, and is never taken back."""
    return before.gpc != 0 and before == after._replace(gpc=before.gpc)


class Refreshes:
    """Keeps back what was only said again, the newest of each subject, so that it is written once a minute and not
    with every event.

    Losing it costs the times of the last minute, which matter only to what arrives late and out of order.
    """

    def __init__(self) -> None:
        self._waiting: dict[Subject, Told] = {}
        self._since_ms = 0

    def put(self, told: Told, *, now_ms: int) -> None:
        """Keep a piece of evidence that is `News.AGAIN`."""
        if not self._waiting:
            self._since_ms = now_ms
        before = self._waiting.get(told.subject)
        self._waiting[told.subject] = told if before is None else _newer(before, told)

    def is_due(self, *, now_ms: int) -> bool:
        """Whether it is time to take and write them."""
        return bool(self._waiting) and (now_ms - self._since_ms >= REFRESH_MS or len(self._waiting) >= MAX_WAITING)

    def take(self) -> list[Told]:
        """All of them, to be written now; also to be called at the end."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


def _newer(before: Told, told: Told) -> Told:
    """Of each purpose the newer; both say the same."""
    writes = dict(before.writes)
    for purpose, said in told.writes.items():
        if purpose not in writes or said[0].at_ms > writes[purpose][0].at_ms:
            writes[purpose] = said
    return told._replace(writes=writes)


def news_in_stamp(stamp: Iterable[tuple[str, bool]], known: SubjectConsent, at_ms: int) -> News | None:
    """As `news_in`, of a stamp without a time on an event of this time; None where that has to be asked.

    It is for what most stamps come to, at a fifth of the cost: all is new of somebody new, and later all is known.
    """
    if not known.slots:
        return News.CHANGE
    news = News.NONE
    for purpose, granted in stamp:
        slots = known.slots.get(purpose)
        if slots is None or slots.decided or not slots.seen or is_denial(slots.seen) == granted:
            return None
        if time_of(slots.seen) < at_ms:
            news = News.AGAIN
    return news


def is_settled(decided: Mapping[str, bool], known: SubjectConsent) -> bool:
    """Whether the same stamp on any later event can change nothing but the time at which it was last seen."""
    for purpose, granted in decided.items():
        slots = known.slots.get(purpose, EMPTY)
        if not slots.seen or is_denial(slots.seen) == granted:
            return False
        if slots.decided and (not granted or is_denial(slots.decided)):
            return False
    return True


def conflicts(writes: Writes, known: SubjectConsent) -> bool:
    """Whether something is granted here that stays denied, because it was refused explicitly and not before."""
    for purpose, said in writes.items():
        slots = known.slots.get(purpose)
        if slots is None or not is_denial(slots.decided):
            continue
        grants = [write for write in said if write.granted]
        dated = any(write.slot is Slot.DECIDED and write.at_ms > time_of(slots.decided) for write in grants)
        if grants and not dated:
            return True
    return False
