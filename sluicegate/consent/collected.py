"""What accepted events bring to the ledger, and which of it is worth writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from sluicegate.consent.evidence import Entry, Evidence, Link, Told, Writes, decision, signal, stamp_writes
from sluicegate.consent.slots import EMPTY, is_denial, join, joined, time_of
from sluicegate.consent.standing import SubjectConsent
from sluicegate.consent.subject import Subject

if TYPE_CHECKING:
    from sluicegate.consent.cookie import CookieConsent
    from sluicegate.consent.tcf import TcString

REFRESH_MS = 60_000
"""How long it may take until it is on disk that a device said the same again."""
MAX_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class Collected:
    """What the ledger needs of one accepted event; times are corrected Unix milliseconds."""

    type: str
    subject: Subject
    time_ms: int
    decided: Mapping[str, bool]
    """What its stamp decides."""
    decided_at_ms: int | None = None
    """When the stamp says that this was decided."""
    is_preference_event: bool = False
    """Whether it is Segment's event about a decision, whose own time is that of the decision."""
    previous_id: str | None = None
    """Of an alias event."""
    gpc: bool = False
    """Whether Global Privacy Control is set where it is honoured."""
    tc: TcString | None = None
    cookie: CookieConsent | None = None
    """What the cookie of c15t says that came with the request."""


def entries_of(event: Collected, *, received_ms: int, source: str, gpc_purposes: tuple[str, ...] = ()) -> list[Entry]:
    """The entries that one event makes; none for an event without a subject."""
    subject = event.subject
    if subject.is_nobody:
        return []
    entries: list[Entry] = []
    if event.decided:
        entries.append(_stamp(event, received_ms, source))
    if event.tc is not None:
        writes = stamp_writes(
            event.tc.decided,
            time_ms=event.time_ms,
            received_ms=received_ms,
            decided_at_ms=event.tc.updated_ms,
            day_precision=True,
        )
        entries.append(Told(subject, writes, Evidence.TCF, source))
    if event.cookie is not None:
        writes = decision(event.cookie.decided, event.cookie.at_ms, received_ms=received_ms)
        entries.append(Told(subject, writes, Evidence.COOKIE, source))
    if event.gpc and gpc_purposes:
        at_ms = min(event.time_ms, received_ms)
        entries.append(Told(subject, signal(gpc_purposes, at_ms=at_ms), Evidence.GPC, source))
    entries += _links(event, received_ms, source)
    return entries


def _stamp(event: Collected, received_ms: int, source: str) -> Told:
    if event.is_preference_event:
        writes = decision(event.decided, event.time_ms, received_ms=received_ms)
        return Told(event.subject, writes, Evidence.PREFERENCE_EVENT, source)
    writes = stamp_writes(
        event.decided, time_ms=event.time_ms, received_ms=received_ms, decided_at_ms=event.decided_at_ms
    )
    return Told(event.subject, writes, Evidence.STAMP, source)


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


def news_in(writes: Writes, known: SubjectConsent) -> News:
    """How much of these writes is not known of the subject that they are about."""
    news = News.NONE
    for purpose, said in writes.items():
        before = known.slots.get(purpose, EMPTY)
        after = join(before, joined(said))
        if after == before:
            continue
        again = before.seen and is_denial(before.seen) == is_denial(after.seen)
        if not again or before._replace(seen=0) != after._replace(seen=0):
            return News.CHANGE
        if _outlives_a_decision(before.decided, before.seen, after.seen):
            return News.CHANGE
        news = News.AGAIN
    return news


def _outlives_a_decision(decided: int, before: int, after: int) -> bool:
    """Whether a denial that is seen again is only now newer than a decision."""
    return is_denial(after) and time_of(before) <= time_of(decided) < time_of(after)


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
