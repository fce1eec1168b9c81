"""Held events as the log has them: who they are of, whether they may go now, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sluicegate.consent.subject import Subject, SubjectKeys
from sluicegate.delivery.gate import HELD, Gate
from sluicegate.delivery.held import number_of
from sluicegate.delivery.settlement import HeldRow
from sluicegate.errors import RowDamaged
from sluicegate.event import About, Combo
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.runs import Events, Run
from sluicegate.routing import Decision

Decide = Callable[[Combo], str | None]
"""A combination to None when the destination may have it, else the reason why not."""


@dataclass(slots=True)
class Judged:
    """Held events, parted by what follows now: they may go, may never go, or cannot be had any more."""

    allowed: list[Offset] = field(default_factory=list)
    denied: dict[Offset, str] = field(default_factory=dict)
    gone: list[Offset] = field(default_factory=list)
    damaged: list[Offset] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.allowed or self.denied or self.gone or self.damaged)


class HeldLog:
    """Looks held events up in the log; belongs to one thread.

    Methods raise `ConsentUnreadable` when the ledger cannot be read, `LogUnavailable` when the log cannot.
    """

    def __init__(self, log: EventLog, gate: Gate, decide: Decide) -> None:
        self._log = log
        self._gate = gate
        self._decide = decide

    def judge(self, offsets: Sequence[Offset]) -> Judged:
        """Decide on held events, which ascend, by the ledger as of the gate's last `refresh`."""
        judged = Judged()
        for row, places in self._rows(offsets, judged):
            try:
                about = row.meta.about.pick(places)
                reasons = self._reasons(row, about)
            except RowDamaged:
                judged.damaged += [row.first + place for place in places]
                continue
            for place, reason in zip(places, reasons, strict=True):
                if reason is None:
                    judged.allowed.append(row.first + place)
                elif reason != HELD:
                    judged.denied[row.first + place] = reason
        return judged

    def events(self, offsets: Sequence[Offset]) -> tuple[Events, Judged]:
        """The events at these offsets, which ascend; and what of them cannot be had or is not for the destination."""
        judged = Judged()
        runs: list[Run] = []
        for row, places in self._rows(offsets, judged):
            try:
                run = Run.of_row(row, self._log.payload(row))
                run.message_ids  # noqa: B018  (its columns are read here or never)
            except RowGone:
                judged.gone += [row.first + place for place in places]
                continue
            except RowDamaged:
                judged.damaged += [row.first + place for place in places]
                continue
            places = [place for place in places if self._is_wanted(row, place, judged)]
            chosen = bytearray(row.count)
            for place in places:
                chosen[place] = 1
            if places:
                runs.append(run.select(chosen).compact())
        return Events(runs), judged

    def _is_wanted(self, row: Row, place: int, judged: Judged) -> bool:
        reason = self._decide(row.meta.combos[row.meta.combo_of[place]])
        if reason is None or reason == Decision.CONSENT_UNDECIDED:
            return True
        judged.denied[row.first + place] = reason
        return False

    def _reasons(self, row: Row, about: About) -> list[str | None]:
        """What a combination alone decides stands, unless it is that consent is left open."""
        fixed = [self._decide(combo) for combo in about.combos]
        found = self._gate.reasons(about, arrived_ms=row.received_at_ms)
        columns = zip(about.codes, found, strict=True)
        return [
            reason if fixed[code] is None or fixed[code] == Decision.CONSENT_UNDECIDED else fixed[code]
            for code, reason in columns
        ]

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


def held_rows(keys: SubjectKeys, about: About, offsets: Iterable[Offset], *, arrived_ms: int) -> list[HeldRow]:
    """The entries of events that are to be held; each has a subject."""
    numbers: dict[tuple[str | None, str | None], tuple[int, int | None]] = {}
    rows = []
    for offset, whose in zip(offsets, about.whose, strict=True):
        known = numbers.get(whose)
        if known is None:
            first, *others = map(number_of, keys.of(Subject(*whose)))
            known = numbers[whose] = first, others[0] if others else None
        rows.append(HeldRow(offset, *known, arrived_ms))
    return rows
