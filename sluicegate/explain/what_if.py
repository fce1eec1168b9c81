"""What another requirement would have meant for the events that the log still holds; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sluicegate.audit.words import DELIVERED, REDACTED, Final, denied, final
from sluicegate.delivery.gate import HELD, REDACT
from sluicegate.errors import RowDamaged
from sluicegate.eventlog.base import EventLog, Row
from sluicegate.explain.now import Considering

READ_EVENTS = 20_000
READ_BYTES = 64 * 1024 * 1024  # of the rows' sizes; only their meta is read

Change = tuple[Final, Final]
"""What an event comes to by the requirement in force, and by the other one."""
Seen = Callable[[int, int], None]
"""Told from time to time: how many events have been looked at, of how many."""


@dataclass(slots=True)
class WhatIf:
    """How many events of each source come to what, and would come to what; `n_unreadable` could not be judged."""

    by_source: dict[str, Counter[Change]] = field(default_factory=dict)
    n_unreadable: int = 0

    @property
    def changes(self) -> Counter[Change]:
        """The same over all sources."""
        return sum(self.by_source.values(), Counter())

    @property
    def n_events(self) -> int:
        """How many events were judged."""
        return self.changes.total()

    def now(self, changes: Mapping[Change, int]) -> Counter[Final]:
        """What they come to by the requirement in force."""
        return _side(changes, 0)

    def then(self, changes: Mapping[Change, int]) -> Counter[Final]:
        """What they would come to by the other one."""
        return _side(changes, 1)


def compare(log: EventLog, now: Considering, then: Considering, *, seen: Seen = lambda done, total: None) -> WhatIf:
    """Judge every event in the log by both, as if it were to be sent at this moment.

    Raises `ConsentUnreadable` and `LogUnavailable`.
    """
    found = WhatIf()
    head, first = log.head(), log.tail()
    after = first - 1
    while after < head and (rows := log.read(after, max_events=READ_EVENTS, max_bytes=READ_BYTES)):
        for row in rows:
            _judge(row, now, then, found)
        after = rows[-1].last
        seen(min(after, head) - first + 1, head - first + 1)
    return found


def _judge(row: Row, now: Considering, then: Considering, found: WhatIf) -> None:
    offsets = range(row.first, row.last + 1)
    try:
        if row.damage is not None:
            raise RowDamaged(row.damage)
        about = row.meta.about
        columns = [one.reasons(about, offsets, arrived_ms=row.received_at_ms) for one in (now, then)]
    except RowDamaged:
        found.n_unreadable += row.count
        return
    counts = Counter(zip(about.codes, *columns, strict=True))
    for (code, before, after), n in counts.items():
        changes = found.by_source.setdefault(about.combos[code].source, Counter())
        changes[_final(before), _final(after)] += n


def _final(reason: str | None) -> Final:
    if reason is None or reason == REDACT:
        return final(DELIVERED if reason is None else REDACTED)
    return final(reason if reason == HELD else denied(reason))


def _side(changes: Mapping[Change, int], side: int) -> Counter[Final]:
    found: Counter[Final] = Counter()
    for change, n in changes.items():
        found[change[side]] += n
    return found
