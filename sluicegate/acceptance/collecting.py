"""What accepted events bring to the consent ledger: their stamps, and which ids turned out to be one person."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from operator import is_not

import msgspec

from sluicegate.acceptance.combining import Telling
from sluicegate.acceptance.head import LooseHead
from sluicegate.consent.collected import (
    REFRESH_MS,
    Collected,
    News,
    Refreshes,
    conflicts,
    entries_of,
    is_settled,
    news_in,
    news_in_stamp,
)
from sluicegate.consent.evidence import Entry, Evidence, Link, Told, stamp_writes
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.slots import EMPTY, Slot, Write
from sluicegate.consent.standing import UNKNOWN_SUBJECT, SubjectConsent
from sluicegate.consent.subject import Subject
from sluicegate.errors import ConsentUnreadable
from sluicegate.event import Combo, EventBatch, EventType
from sluicegate.metrics import ConsentCounts

log = logging.getLogger(__name__)

MAX_LINKED = 50_000
"""Links of which it is remembered that they were told lately; about 10 MB."""
MAX_TOKENS = 1_024
"""Combinations of which it is remembered what they tell; clients choose them, up to some KB each."""

_LINKING = frozenset({EventType.IDENTIFY, EventType.ALIAS})
_HEAD = msgspec.json.Decoder(LooseHead)
_SILENT, _ALWAYS = object(), object()
"""What stands for the combinations that tell nothing, and for those that are looked at each time."""


class Collector:
    """Finds what is new in accepted events; belongs to one thread.

    What is only said again is kept back, and given out once a minute. An event that says what its subject is known to
    say costs one look-up. `refresh` makes the ledger take note of what others have written, if need be.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        *,
        gpc_purposes: tuple[str, ...] = (),
        counts: ConsentCounts | None = None,
        refresh: Callable[[], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._refresh = refresh or ledger.refresh
        self._gpc_purposes = gpc_purposes
        self.counts = counts or ConsentCounts()
        self._refreshes = Refreshes()
        self._tokens = _Tokens()
        self._linked: dict[Subject, tuple[str, int]] = {}

    def collect(self, batch: EventBatch, *, received_ms: int) -> list[Entry]:
        """What is to be written before these events are stored; raises `ConsentUnreadable`."""
        tokens = self._tokens.of(batch.combos)
        if tokens is None:
            return []
        self._refresh()
        # In bulk: mostly everybody has said so within the last minute.
        settled = self._ledger.settled_ones
        columns = batch.user_ids, batch.anonymous_ids, tokens
        entries: list[Entry] = []
        if settled is None or not settled.cover(*columns, now_ms=received_ms):
            entries = self._news(batch, tokens, received_ms)
        if self._refreshes.is_due(now_ms=received_ms):
            entries += self._kept_back()
        if entries:
            self.counts.written.update([entry.evidence.name.lower() for entry in entries])
        return entries

    def _news(self, batch: EventBatch, tokens: list[object], received_ms: int) -> list[Entry]:
        """What some of these events may tell that is new."""
        known = self._ledger.of_many(list(zip(batch.user_ids, batch.anonymous_ids, strict=True)))
        until_ms = min([who.settled_until_ms for who in known])
        if until_ms >= received_ms and not any(map(is_not, [who.settled for who in known], tokens)):
            settled = self._ledger.settled_ones
            if settled is not None:
                settled.note(batch.user_ids, batch.anonymous_ids, tokens, until_ms=until_ms)
            return []
        entries: list[Entry] = []
        for place, (token, who) in enumerate(zip(tokens, known, strict=True)):
            if token is not _SILENT and (who.settled is not token or who.settled_until_ms < received_ms):
                entries += self._entries(batch, place, who, token, received_ms)
        return entries

    def rest(self) -> list[Told]:
        """What was kept back, to be written at the end; nothing while the ledger cannot be read."""
        try:
            self._ledger.refresh()
            return self._kept_back()
        except ConsentUnreadable as error:
            log.warning("what devices have said again is not recorded: %s", error)
            return []

    def _kept_back(self) -> list[Told]:
        """What was kept back, but of those that were erased since: what they had said is not known any more."""
        told = self._refreshes.take()
        if not (told and self._ledger.has_regulated):
            return told
        known = self._ledger.of_many([one.subject for one in told])
        return [one for one, who in zip(told, known, strict=True) if _was_seen(one, who)]

    def was_not_written(self) -> None:
        """Something that was given out is not in the ledger: links, of which events tell once, are told again."""
        self._linked.clear()

    def _entries(
        self, batch: EventBatch, place: int, consent: SubjectConsent, token: object, received_ms: int
    ) -> list[Entry]:
        combo, subject = batch.combos[place], Subject(batch.user_ids[place], batch.anonymous_ids[place])
        time_ms = batch.times_ms[place]
        if token is combo.stamp and not subject.is_nobody:
            entries = self._of_stamp(combo, subject, consent, time_ms=time_ms, received_ms=received_ms)
            if entries is not None:
                return entries
        event = _collected(combo, subject, time_ms, batch.events[place])
        found: list[Entry] = []
        may_settle = token is not _ALWAYS
        for entry in entries_of(event, received_ms=received_ms, source=combo.source, gpc_purposes=self._gpc_purposes):
            if isinstance(entry, Link):
                found += self._new_link(entry, received_ms)
                continue
            news = news_in(entry.writes, consent, now_ms=received_ms)
            if news is News.CHANGE or self._is_news_to_one(entry, received_ms):
                found.append(entry)
                may_settle = False
            elif news is News.AGAIN:
                self._refreshes.put(entry, now_ms=received_ms)
            if conflicts(entry.writes, consent):
                self.counts.conflicts += 1
                may_settle = False  # so that each is counted
        if may_settle and _can_settle(combo, consent):
            _settle(consent, token, received_ms)
        return found

    def _of_stamp(
        self, combo: Combo, subject: Subject, consent: SubjectConsent, *, time_ms: int, received_ms: int
    ) -> list[Entry] | None:
        """The entries of a stamp without a time; None where it has to be looked at more closely."""
        news = news_in_stamp(combo.stamp, consent, min(time_ms, received_ms))
        if news is None:
            return None
        if news is News.NONE:
            _settle(consent, combo.stamp, received_ms)
            return []
        writes = stamp_writes(dict(combo.stamp), time_ms=time_ms, received_ms=received_ms)
        told = Told(subject, writes, Evidence.STAMP, combo.source)
        if news is News.CHANGE:
            return [told]
        self._refreshes.put(told, now_ms=received_ms)
        _settle(consent, combo.stamp, received_ms)
        return []

    def _is_news_to_one(self, told: Told, now_ms: int) -> bool:
        """Whether one of two ids does not know by itself what both know together."""
        user_id, anonymous_id = told.subject
        writes = {purpose: rest for purpose, said in told.writes.items() if (rest := _passed_on(said))}
        if not writes or user_id is None or anonymous_id is None:
            return False
        known = self._ledger.of_many([(None, anonymous_id), (user_id, None)])
        return any(news_in(writes, one, now_ms=now_ms) is News.CHANGE for one in known)

    def _new_link(self, link: Link, received_ms: int) -> list[Entry]:
        """The link, unless it was told within the last minute and no other since."""
        owner, until_ms = self._linked.get(link.member, ("", 0))
        if owner == link.owner and received_ms <= until_ms and not self._may_be_erased(link):
            return []
        if len(self._linked) >= MAX_LINKED:
            self._linked.clear()
        self._linked[link.member] = (link.owner, received_ms + REFRESH_MS)
        return [link]

    def _may_be_erased(self, link: Link) -> bool:
        """Whether one of the two was erased once, perhaps since the link was told."""
        if not self._ledger.has_regulated:
            return False
        return any(who.is_regulated for who in self._ledger.of_many([link.member, Subject(link.owner)]))


def _settle(consent: SubjectConsent, token: object, received_ms: int) -> None:
    """What this subject tells is known, and no later time of it need be noted for a while."""
    if consent is not UNKNOWN_SUBJECT:  # that one stands for many
        consent.settled, consent.settled_until_ms = token, received_ms + REFRESH_MS


def _was_seen(told: Told, consent: SubjectConsent) -> bool:
    """Whether the device is known to have said something about each of these purposes."""
    return all(consent.slots.get(purpose, EMPTY).seen for purpose in told.writes)


def _passed_on(said: tuple[Write, ...]) -> tuple[Write, ...]:
    """What is written under every id, and not for the device alone."""
    return tuple([write for write in said if write.slot is not Slot.SEEN])


class UnderWay:
    """Whose events wait for the ledger: what follows of the same people waits too, so that nothing overtakes."""

    def __init__(self) -> None:
        self._ids: Counter[str] = Counter()

    def must_wait(self, batch: EventBatch) -> bool:
        """Whether somebody in this batch has events under way."""
        return bool(self._ids) and not self._ids.keys().isdisjoint(_ids(batch))

    def add(self, batch: EventBatch) -> None:
        """These events wait."""
        self._ids.update(_ids(batch))

    def remove(self, batch: EventBatch) -> None:
        """They do not any more."""
        self._ids.subtract(_ids(batch))
        self._ids = +self._ids


def _ids(batch: EventBatch) -> set[str]:
    return {one for one in (*batch.user_ids, *batch.anonymous_ids) if one is not None}


class _Tokens:
    """For each event an object that is the same for events that tell the same.

    Combinations are few and come again as the same objects, so what was found for one is kept by its identity.
    """

    def __init__(self) -> None:
        self._known: dict[int, object] = {}
        self._combos: list[Combo] = []
        """The known ones: while they are here, none of their identities is another's."""

    def of(self, combos: list[Combo]) -> list[object] | None:
        """The object of each event; None when none tells anything."""
        try:
            tokens = list(map(self._known.__getitem__, map(id, combos)))
        except KeyError:
            self._learn(combos)
            tokens = list(map(self._known.__getitem__, map(id, combos)))
        return None if all(token is _SILENT for token in tokens) else tokens

    def _learn(self, combos: list[Combo]) -> None:
        if len(self._known) > MAX_TOKENS:
            self._known, self._combos = {}, []
        for combo in combos:
            if id(combo) not in self._known:
                self._known[id(combo)] = _token(combo)
                self._combos.append(combo)


def _token(combo: Combo) -> object:
    if combo.type in _LINKING:
        return _ALWAYS
    if isinstance(combo, Telling):
        return combo
    return combo.stamp or _SILENT


def _can_settle(combo: Combo, consent: SubjectConsent) -> bool:
    """Whether all that later events of this combination can tell anew is their time, if this one told no more."""
    if not isinstance(combo, Telling):
        return is_settled(dict(combo.stamp), consent)
    has_own_date = combo.decided_at_ms is not None and combo.evidence is not Evidence.TCF
    return has_own_date or is_settled(dict(combo.told), consent)


def _collected(combo: Combo, subject: Subject, time_ms: int, raw: bytes) -> Collected:
    if isinstance(combo, Telling):
        event = Collected(
            combo.type,
            subject,
            time_ms,
            dict(combo.told),
            evidence=combo.evidence,
            decided_at_ms=combo.decided_at_ms,
            policy=combo.policy,
            gpc=combo.gpc,
        )
    else:
        event = Collected(combo.type, subject, time_ms, dict(combo.stamp))
    if combo.type != EventType.ALIAS:
        return event
    previous = _HEAD.decode(raw).previousId
    return replace(event, previous_id=None if previous is None else str(previous))
