"""What arrived for destinations that are not running: which of them it needs, and what it denies the others.

A destination without a process still has accounts. For each one the sweep looks at every row between its cursor and the
head, by combination and without the event bytes, until it meets an event that the destination may have. From there on
it is *wanted* and its events wait; up to there they are counted as denied or noted as held, and its cursor can be
moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sluicegate.accounts import DAMAGED
from sluicegate.audit.chain import Decisions
from sluicegate.audit.gathering import Gathering
from sluicegate.audit.words import EXPIRED, denied, expired
from sluicegate.audit.words import HELD as HELD_WORD
from sluicegate.delivery.gate import HELD
from sluicegate.delivery.settlement import HeldRow
from sluicegate.event import Combo
from sluicegate.eventlog.base import Offset, Row

Decide = Callable[[str, Combo], str | None]
"""(destination id, combination) to None when it may have the event, else the reason why not."""

Holder = Callable[[str, Row, Sequence[int]], Sequence[HeldRow]]
"""(destination id, row, places in it) to what is noted of these events while they are held."""

DecideEach = Callable[[str, Row, int], Sequence[str | None] | None]
"""(destination id, row, events to leave out at its begin) to the same for each event; None to decide by combination."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Events from `cursor` to `to` that a destination may not have, counted by reason.

    `decisions` says the same of each of them.
    """

    id: str
    epoch: int
    cursor: Offset
    to: Offset
    denied: Mapping[str, int]
    expired: int
    damaged: int = 0
    held: Sequence[HeldRow] = ()
    decisions: Decisions | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class _Watch:
    """One destination's place: its store's cursor, how far it was looked at, and what was denied between."""

    epoch: int
    cursor: Offset
    seen: Offset
    wanted: bool = False
    always_wanted: bool = False
    expired: int = 0
    damaged: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    held: list[HeldRow] = field(default_factory=list)
    gathered: Gathering = field(default_factory=Gathering)

    def expire(self, last: Offset) -> None:
        """What lies before here and after what was seen is gone."""
        self.gathered.add_run(EXPIRED, last - self.seen, 0)
        self.expired += last - self.seen
        self.seen = last

    def lose(self, last: Offset) -> None:
        """It is there, and cannot be read."""
        self.gathered.add_run(expired(DAMAGED), last - self.seen, 0)
        self.damaged += last - self.seen
        self.seen = last


class Sweep:
    """The destinations that are not running; not thread-safe, does no I/O."""

    def __init__(
        self,
        decide: Decide,
        decide_each: DecideEach = lambda name, row, skipped: None,
        hold: Holder = lambda name, row, places: (),
        *,
        version: Callable[[], int] = lambda: 0,
    ) -> None:
        """`version` is asked after each decision for that of the ledger by which it was taken."""
        self._decide = decide
        self._decide_each = decide_each
        self._hold = hold
        self._watches: dict[str, _Watch] = {}
        self._version = version

    def watch(self, destination_id: str, *, epoch: int, cursor: Offset, wanted: bool = False) -> None:
        """Mind this destination from its store's cursor on; `wanted` when something else than the log waits for it."""
        self._watches[destination_id] = _Watch(epoch, cursor, cursor, wanted, wanted)

    def forget(self, destination_id: str) -> None:
        """The destination runs, or is gone: it minds itself."""
        self._watches.pop(destination_id, None)

    def want(self, destination_id: str) -> None:
        """Something else than the log waits for this destination."""
        watch = self._watches.get(destination_id)
        if watch is not None:
            watch.wanted = True

    def watched(self) -> set[str]:
        """Ids of the destinations that are minded."""
        return set(self._watches)

    def wanted(self) -> tuple[str, ...]:
        """Ids of the destinations for which a permitted event waits, sorted."""
        return tuple(sorted(name for name, watch in self._watches.items() if watch.wanted))

    def position(self) -> Offset | None:
        """The offset to read on from: the least that a destination has been looked at; None when all are wanted."""
        return min((w.seen for w in self._watches.values() if not w.wanted), default=None)

    def front(self, within: int) -> Offset | None:
        """The same among those alone that are at most so many events behind the foremost one."""
        seen = [watch.seen for watch in self._watches.values() if not watch.wanted]
        near = max(seen, default=0) - within
        return min((one for one in seen if one >= near), default=None)

    def expire(self, tail: Offset) -> None:
        """The log begins at `tail` now; what was before it has expired, also for those that wait to be loaded."""
        for watch in self._watches.values():
            if watch.seen + 1 < tail:
                watch.expire(tail - 1)
                watch.wanted = watch.always_wanted  # what it was wanted for may be gone: look again

    def look(self, row: Row, *, after: Offset = 0) -> None:
        """Judge one row for all destinations that have not seen it; rows come in order, from `after` on.

        Those that have not been looked at as far as `after` are left where they are.
        """
        histogram = Counter(row.meta.combo_of)
        for name, watch in self._watches.items():
            if watch.wanted or not after <= watch.seen < row.last:
                continue
            if watch.seen + 1 < row.first:
                watch.expire(row.first - 1)
            if row.damage is None:
                self._judge(name, watch, row, histogram)
            else:
                watch.lose(row.last)

    def lose(self, last: Offset) -> None:
        """The log has let go of all events up to this one, and no row after them shows the gap."""
        for watch in self._watches.values():
            if not watch.wanted and watch.seen < last:
                watch.expire(last)

    def _judge(self, name: str, watch: _Watch, row: Row, histogram: Mapping[int, int]) -> None:
        skipped = watch.seen + 1 - row.first
        each = self._decide_each(name, row, skipped)
        if each is not None:
            return self._count(name, watch, row, each)
        reasons = [self._decide(name, combo) for combo in row.meta.combos]
        if skipped == 0 and all(reasons):
            for index, count in histogram.items():
                watch.denied[reasons[index] or ""] += count
            if len(histogram) == 1:
                watch.gathered.add_run(denied(reasons[row.meta.combo_of[0]] or ""), row.count, self._version())
            else:
                words = [denied(reason or "") for reason in reasons]
                watch.gathered.add_coded(row.meta.combo_of, words, self._version())
            watch.seen = row.last
            return
        self._count(name, watch, row, [reasons[index] for index in row.meta.combo_of[skipped:]])

    def _count(self, name: str, watch: _Watch, row: Row, reasons: Sequence[str | None]) -> None:
        """Count denials, and note what is to be held, up to the first event that is permitted."""
        n_passed = next((i for i, reason in enumerate(reasons) if reason is None), len(reasons))
        passed = Counter(reasons[:n_passed])
        if passed.pop(HELD, 0):
            first = watch.seen + 1 - row.first
            watch.held += self._hold(name, row, [first + i for i in range(n_passed) if reasons[i] == HELD])
        watch.denied.update({reason or "": n for reason, n in passed.items()})
        words = [HELD_WORD if reason == HELD else denied(reason or "") for reason in reasons[:n_passed]]
        if words:
            watch.gathered.add_each(words, self._version())
        watch.seen += n_passed
        watch.wanted = n_passed < len(reasons)

    def n_held(self) -> int:
        """Events to be held that are not in a store yet."""
        return sum(len(watch.held) for watch in self._watches.values())

    @property
    def has_skips(self) -> bool:
        """Whether the cursor of any destination can be moved."""
        return any(watch.seen > watch.cursor for watch in self._watches.values())

    def skips(self, *, at_most: int, at_least_events: int = 1) -> list[Skip]:
        """The moves of cursors that are due, those with the most events first."""
        due = [(name, w) for name, w in self._watches.items() if w.seen - w.cursor >= at_least_events]
        due.sort(key=lambda one: one[1].cursor - one[1].seen)
        return [
            Skip(
                name, w.epoch, w.cursor, w.seen, dict(w.denied), w.expired, w.damaged, tuple(w.held), w.gathered.told()
            )
            for name, w in due[:at_most]
        ]

    def skipped(self, skip: Skip) -> None:
        """The store has taken this move."""
        watch = self._watches.get(skip.id)
        if watch is None or watch.cursor != skip.cursor:
            return
        watch.cursor = skip.to
        watch.denied.subtract(skip.denied)
        watch.denied += Counter()  # drops the zeroes
        watch.expired -= skip.expired
        watch.damaged -= skip.damaged
        del watch.held[: len(skip.held)]
        watch.gathered.keep_last(watch.seen - skip.to)
