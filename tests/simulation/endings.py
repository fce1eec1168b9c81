"""Whether what a store says of events is right: each is in one account, and ended there for a reason that was true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD, denied
from sluicegate.consent.regulation import Kind
from sluicegate.eventlog.base import Offset
from tests.simulation.clock import Violation
from tests.simulation.judge import ERASED, HOLD_EXPIRED, HOLD_LIMIT, SUPPRESSED, UNDECIDED, kind_of
from tests.simulation.storefile import Content

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Ledger:
    """What is known about one destination."""

    taken: set[int] = field(default_factory=set)
    """Offsets that the vendor has."""
    turns_of: dict[str, list[tuple[Offset, int]]] = field(default_factory=dict)
    """By subject what the vendor has got in its turn, each with the ledger's version from which on it was free."""
    n_duplicates: int = 0
    tried: dict[int, list[float]] = field(default_factory=dict)
    """By offset when it went out, replays aside."""
    died_alone: dict[int, set[int]] = field(default_factory=dict)
    """By offset the epochs of processes that ended while it was alone on its way."""
    died_released: dict[int, set[int]] = field(default_factory=dict)
    """By offset the epochs of processes that ended while it was on its way after it had been held."""
    had_no_room: set[int] = field(default_factory=set)
    """Offsets that were given up because there was no room to hold them."""
    failed_at: float | None = None
    """When the destination last failed to load or crashed, while nobody has forgiven it."""


class Endings:
    """Checks the words of stores."""

    def __init__(self, world: World, ledgers: dict[str, Ledger], trimmed: set[Offset], seen: Counter[str]) -> None:
        self._world = world
        self._ledgers = ledgers
        self._trimmed = trimmed
        self._seen = seen

    def check(self, id: str, offset: Offset, word: str, *, now: bool = False) -> None:
        """What became of an event must be true; with `now` by what is known at this moment."""
        account, _, reason = word.partition(":")
        case, taken = self._world.oracle.judge.of(offset, id), offset in self._ledgers[id].taken
        match account:
            case "delivered":
                holds = taken
            case "dead":
                holds = None in case.outcomes
            case "expired":
                holds = offset in self._trimmed
            case "held":
                holds = case.hold_ms is not None and UNDECIDED in case.outcomes
            case _:
                holds = self._was_refused(id, offset, reason, now=now)
        if not holds:
            raise Violation(f"{id}: event {offset} is {word}, which it cannot be: {case.outcomes}, taken: {taken}")

    def _was_refused(self, id: str, offset: Offset, reason: str, *, now: bool) -> bool:
        case, kind = self._world.oracle.judge.of(offset, id), kind_of(reason)
        if kind in (HOLD_EXPIRED, HOLD_LIMIT):
            self._seen[kind] += 1
            undecided = case.now == UNDECIDED if now else UNDECIDED in case.outcomes
            late = case.hold_ms is not None and self._world.now_ms() > case.arrived_ms + case.hold_ms
            return case.hold_ms is not None and undecided and (late or kind == HOLD_LIMIT)
        if kind == UNDECIDED and case.hold_ms is not None:  # it waits, unless it was on its way already
            return {None, UNDECIDED} <= case.outcomes
        if kind in (ERASED, SUPPRESSED):
            tried = offset in self._ledgers[id].tried
            self._seen[f"{kind} after it was tried" if tried else f"denied: {kind}"] += 1
        if kind == ERASED and kind not in case.outcomes and SUPPRESSED in case.outcomes:
            regulations = self._world.consent.about(case.event.subject)  # while one erases all goes that still comes
            return any(one.kind is Kind.SUPPRESS_WITH_DELETE for one in regulations)
        return kind in case.outcomes

    def exact(self, id: str) -> None:
        """accepted = delivered + pending + held + dead + denied + expired, of counts and event by event."""
        content, head = self._world.sites[id].store.content, self._world.log.head()
        n_held = len(content.held.rows)
        counts = {DELIVERED: content.delivered, DEAD: content.dead, EXPIRED: content.expired, HELD: n_held}
        counts |= {denied(reason): n for reason, n in content.denied.items()}
        settled = sum(counts.values())
        accepted, pending = head - content.start, head - content.cursor
        self._must(min(counts.values()) >= 0, f"{id}: a count is negative: {content}")
        self._must(accepted == settled + pending, f"{id}: accepted {accepted} != {settled} + pending {pending}")
        n_letters = len(content.letters)
        self._must(content.dead == n_letters, f"{id}: {content.dead} dead are counted, of {n_letters} letters")
        self._must(content.held.n_held == n_held, f"{id}: {content.held.n_held} held are counted, of {n_held}")
        told = Counter(content.decided)
        self._must(told == Counter(counts), f"{id}: {counts} are counted, and {told} told")
        self._held(id, content)

    def _held(self, id: str, content: Content) -> None:
        rows = content.held.rows
        if not rows:
            return
        for row in rows:
            self._must(content.decided[row.offset - content.start - 1] == HELD, f"{id}: event {row.offset} is not held")
        consent = self._world.consent_config
        most = max(Counter(row.subject for row in rows).values())
        self._must(most <= consent.hold_max, f"{id}: {most} events of one subject are held, of {consent.hold_max}")
        self._must(len(rows) <= consent.hold_total, f"{id}: {len(rows)} events are held, of {consent.hold_total}")

    def had_no_room(self, id: str, refused: Sequence[Offset]) -> None:
        """Events that were denied because there was no room: there was none."""
        rows, consent = self._world.sites[id].store.content.held.rows, self._world.consent_config
        held = Counter(self._world.oracle.events[row.offset].subject for row in rows)
        for offset in refused:
            full = held[self._world.oracle.events[offset].subject] >= consent.hold_max
            self._must(full or len(rows) >= consent.hold_total, f"{id}: there was room to hold event {offset}")
        self._ledgers[id].had_no_room.update(refused)

    def _must(self, holds: bool, text: str) -> None:
        if not holds:
            raise Violation(text)
