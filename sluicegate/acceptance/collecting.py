"""What accepted events bring to the consent ledger: decisions, and which ids turned out to be one person."""

from __future__ import annotations

import msgspec

from sluicegate.acceptance.head import LooseContext, LooseHead
from sluicegate.acceptance.single import CONSENT_EVENT
from sluicegate.consent.collected import Collected, News, entries_of, news_in
from sluicegate.consent.evidence import Entry, Told
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.stamp import Parts, decided_at_ms
from sluicegate.consent.subject import Subject
from sluicegate.event import Combo, EventBatch, EventType

_PREFERENCES = f'"{CONSENT_EVENT}"'.encode()
_LINKING = frozenset({EventType.IDENTIFY, EventType.ALIAS})
_TELLING = (b"givenAt", b"decidedAt", _PREFERENCES)
_HEAD = msgspec.json.Decoder(LooseHead)
_CONTEXT = msgspec.json.Decoder(LooseContext)


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
    """The places of the events that may say something for the ledger."""
    kinds = {id(combo): combo.type in _LINKING or bool(combo.stamp) for combo in batch.combos}
    if not any(kinds.values()):
        return []
    columns = enumerate(zip(batch.combos, batch.events, strict=True))
    return [place for place, (combo, raw) in columns if kinds[id(combo)] and _tells(combo, raw)]


def _tells(combo: Combo, raw: bytes) -> bool:
    return combo.type in _LINKING or any([name in raw for name in _TELLING])


def _collected(combo: Combo, subject: Subject, time_ms: int, raw: bytes) -> Collected:
    is_preference = combo.type == EventType.TRACK and _PREFERENCES in raw and _head(raw).event == CONSENT_EVENT
    at_ms = _decided_at_ms(raw) if combo.stamp else None
    previous = _head(raw).previousId if combo.type == EventType.ALIAS else None
    return Collected(
        combo.type,
        subject,
        time_ms,
        dict(combo.stamp) if is_preference or at_ms is not None else {},
        decided_at_ms=at_ms,
        is_preference_event=is_preference,
        previous_id=None if previous is None else str(previous),
    )


def _decided_at_ms(raw: bytes) -> int | None:
    """When the event itself says that its stamp was decided."""
    head = _head(raw)
    try:
        context = _CONTEXT.decode(head.context) if bytes(head.context) else LooseContext()
    except msgspec.DecodeError:
        context = LooseContext()
    return decided_at_ms(Parts(bytes(head.consent), bytes(context.consent), bytes(context.consentManagement)))


def _head(raw: bytes) -> LooseHead:
    return _HEAD.decode(raw)
