"""What accepted events bring to the consent ledger: decisions, and which ids turned out to be one person."""

from __future__ import annotations

import msgspec

from sluicegate.acceptance.combining import Telling
from sluicegate.acceptance.head import LooseHead
from sluicegate.consent.collected import Collected, News, entries_of, news_in
from sluicegate.consent.evidence import Entry, Told
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.subject import Subject
from sluicegate.event import Combo, EventBatch, EventType

_LINKING = frozenset({EventType.IDENTIFY, EventType.ALIAS})
_HEAD = msgspec.json.Decoder(LooseHead)


class Collector:
    """Finds what is new in accepted events; belongs to one thread.

    A stamp that tells when it was decided, and the event about a decision, are decisions. A stamp without a date counts
    for its event alone.
    """

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger

    def collect(self, batch: EventBatch, *, received_ms: int) -> list[Entry]:
        """What is to be written before these events are stored; raises `ConsentUnreadable`."""
        places = _telling(batch)
        if not places:
            return []
        self._ledger.refresh()
        subjects = [Subject(batch.user_ids[place], batch.anonymous_ids[place]) for place in places]
        entries: list[Entry] = []
        for place, subject, consent in zip(places, subjects, self._ledger.of_many(subjects), strict=True):
            combo = batch.combos[place]
            event = _collected(combo, subject, batch.times_ms[place], batch.events[place])
            for entry in entries_of(event, received_ms=received_ms, source=combo.source):
                if not isinstance(entry, Told) or news_in(entry.writes, consent) is not News.NONE:
                    entries.append(entry)
        return entries


def _telling(batch: EventBatch) -> list[int]:
    """The places of the events that say something for the ledger."""
    combos = batch.combos
    telling = {
        id(combo)
        for combo in {id(combo): combo for combo in combos}.values()
        if isinstance(combo, Telling) or combo.type in _LINKING
    }
    return [place for place, combo in enumerate(combos) if id(combo) in telling] if telling else []


def _collected(combo: Combo, subject: Subject, time_ms: int, raw: bytes) -> Collected:
    previous = _HEAD.decode(raw).previousId if combo.type == EventType.ALIAS else None
    at_ms = combo.decided_at_ms if isinstance(combo, Telling) else None
    return Collected(
        combo.type,
        subject,
        time_ms,
        dict(combo.stamp) if isinstance(combo, Telling) else {},
        decided_at_ms=at_ms,
        is_preference_event=isinstance(combo, Telling) and at_ms is None,
        previous_id=None if previous is None else str(previous),
    )
