"""Held events as the log has them: who they are of, whether they may go now, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.subject import Subject
from sluicegate.delivery.gate import HELD, REDACT, Gate
from sluicegate.delivery.held import number_of
from sluicegate.delivery.settlement import HeldRow
from sluicegate.errors import RowDamaged
from sluicegate.event import About, Combo
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.runs import Events, Run
from sluicegate.routing import Decision

Decide = Callable[[Combo], str | None]
"""A combination to None when the destination may have it, else the reason why not."""

MAX_NUMBERS = 50_000
"""Subjects whose numbers are remembered: about 15 MB."""


@dataclass(slots=True)
class Judged:
    """Held events, parted by what follows now: they may go, may never go, or cannot be had any more."""

    allowed: list[Offset] = field(default_factory=list)
    denied: dict[Offset, str] = field(default_factory=dict)
    gone: list[Offset] = field(default_factory=list)
    damaged: list[Offset] = field(default_factory=list)
    versions: dict[Offset, int] = field(default_factory=dict)
    """Of the ledger, by which each was denied."""

    def deny(self, offset: Offset, reason: str, version: int) -> None:
        """This one may never go."""
        self.denied[offset], self.versions[offset] = reason, version

    def __len__(self) -> int:
        return len(self.allowed) + len(self.denied) + len(self.gone) + len(self.damaged)


class HeldLog:
    """Looks held events up in the log; belongs to one thread.

    Methods raise `ConsentUnreadable` when the ledger cannot be read, `LogUnavailable` when the log cannot.
    """

    def __init__(self, log: EventLog, gate: Gate, decide: Decide) -> None:
        self._log = log
        self._gate = gate
        self._decide = decide

    def judge(self, offsets: Sequence[Offset]) -> Judged:
        """Decide on held events, which ascend, by the ledger as it is."""
        judged = Judged()
        for row, places in self._rows(offsets, judged):
            try:
                about = row.meta.about.pick(places)
                reasons = self._reasons(row, about, [row.first + place for place in places])
            except RowDamaged:
                judged.damaged += [row.first + place for place in places]
                continue
            for place, reason in zip(places, reasons, strict=True):
                if reason is None:
                    judged.allowed.append(row.first + place)
                elif reason != HELD:
                    judged.deny(row.first + place, reason, self._gate.ledger.version)
        return judged

    def events(self, offsets: Sequence[Offset], *, max_bytes: int | None = None) -> tuple[Events, Judged]:
        """The events at these offsets, which ascend; and what of them cannot be had or is not for the destination.

        No more rows are read once the events have more than `max_bytes`.
        """
        judged = Judged()
        runs: list[Run] = []
        n_bytes = 0
        for row, places in self._rows(offsets, judged):
            if max_bytes is not None and n_bytes > max_bytes:
                break
            try:
                run = Run.of_row(row, self._log.payload(row))
                run.message_ids  # noqa: B018  (its columns are read here or never)
            except RowGone:
                judged.gone += [row.first + place for place in places]
                continue
            except RowDamaged:
                judged.damaged += [row.first + place for place in places]
                continue
            places = self._wanted(row, places, judged)
            chosen = bytearray(row.count)
            for place in places:
                chosen[place] = 1
            if places:
                runs.append(run.select(chosen).compact())
                n_bytes += runs[-1].n_bytes
        return Events(runs), judged

    def _wanted(self, row: Row, places: list[int], judged: Judged) -> list[int]:
        """The places of what the destination may have but for consent."""
        fixed = [_but_for_consent(self._decide(combo)) for combo in row.meta.combos]
        if not any(fixed):
            return places
        reasons = [(place, fixed[row.meta.combo_of[place]]) for place in places]
        for place, reason in reasons:
            if reason is not None:
                judged.deny(row.first + place, reason, self._gate.ledger.version)
        return [place for place, reason in reasons if reason is None]

    def _reasons(self, row: Row, about: About, offsets: Sequence[Offset]) -> list[str | None]:
        """What a combination alone decides stands, unless it is that consent is left open.

        A refusal ends what is held, as everywhere: only what was refused when it was collected goes redacted.
        """
        fixed = [_but_for_consent(self._decide(combo)) for combo in about.combos]
        reasons = self._gate.reasons(about, arrived_ms=row.received_at_ms, offsets=offsets)
        found = [str(Decision.CONSENT_DENIED) if reason == REDACT else reason for reason in reasons]
        return [fixed[code] or reason for code, reason in zip(about.codes, found, strict=True)]

    def _rows(self, offsets: Sequence[Offset], judged: Judged) -> Iterator[tuple[Row, list[int]]]:
        """The rows that have events at these offsets, each with their places in it."""
        at = 0
        while at < len(offsets):
            rows = self._log.read(offsets[at] - 1, max_events=1, max_bytes=1)
            first = rows[0].first if rows else offsets[-1] + 1
            until = at
            while until < len(offsets) and offsets[until] < first:
                until += 1
            judged.gone += offsets[at:until]
            at = until
            if not rows:
                return
            while until < len(offsets) and offsets[until] <= rows[0].last:
                until += 1
            if rows[0].damage is not None:
                judged.damaged += offsets[at:until]
            elif until > at:
                yield rows[0], [offset - first for offset in offsets[at:until]]
            at = until


def _but_for_consent(reason: str | None) -> str | None:
    return None if reason == Decision.CONSENT_UNDECIDED else reason


class Numbers:
    """The numbers of subjects, remembered: visitors come with several events, and to several destinations."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._known: dict[tuple[str | None, str | None], tuple[int, int | None]] = {}

    def rows(self, about: About, offsets: Iterable[Offset], *, arrived_ms: int) -> list[HeldRow]:
        """The entries of events that are to be held; each has a subject. Raises `ConsentUnreadable`."""
        known, rows = self._known, []
        if len(known) > MAX_NUMBERS:
            known.clear()
        for offset, whose in zip(offsets, about.whose, strict=True):
            numbers = known.get(whose)
            if numbers is None:
                first, *others = map(number_of, self._ledger.keys.of(Subject(*whose)))
                numbers = known[whose] = first, others[0] if others else None
            rows.append(HeldRow(offset, *numbers, arrived_ms))
        return rows
