"""Whether an event might go to a destination at a moment: consent as the oracle sees it, apart from the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sluicegate.config.model import DestinationConfig
from sluicegate.consent.regulation import Kind
from tests.simulation.eventlog import SimEvent
from tests.simulation.ledger import Decision, Entry, Regulation

if TYPE_CHECKING:
    from tests.simulation.world import World

DENIED = "denied"
UNDECIDED = "undecided"
ERASED = "erased"
SUPPRESSED = "suppressed"
HOLD_EXPIRED = "hold_expired"
HOLD_LIMIT = "hold_limit"
_WORDS = {"consent_denied": DENIED, "withdrawn": DENIED, "consent_undecided": UNDECIDED}


def kind_of(reason: str) -> str:
    """The product's words for a denial, as few as the judge can tell apart."""
    return _WORDS.get(reason, reason)


@dataclass(slots=True)
class Case:
    """One event at one destination, and what could be said of it after each change that concerned its subject."""

    event: SimEvent
    destination: DestinationConfig
    offset: int
    arrived_ms: int
    hold_ms: int | None
    """How long undecided events wait; None where they do not."""
    since: int
    """The ledger's version when it was stored."""
    static: str | None = None
    """Why it may not go whatever is decided."""
    n_known: int = -1
    now: str | None = None
    """Why it may not go now, None when it may."""
    outcomes: set[str | None] = field(default_factory=set)
    """Everything that could rightly be said of it at some time since it was stored."""
    free_from: int = 0
    """The version from which on it has been permitted all the time, if it is."""

    def __post_init__(self) -> None:
        if self.destination.events and self.event.combo.type not in self.destination.events:
            self.static = "event_type"
        elif self.destination.id in self.event.combo.integrations_off:
            self.static = "integrations"

    def learn(self, entries: Sequence[Entry]) -> None:
        """Take note of all that was written about the subject."""
        if len(entries) == self.n_known:
            return
        if self.n_known < 0:
            self.n_known = sum(one.number <= self.since for one in entries)
            self._say(entries[: self.n_known], self.since)
        while self.n_known < len(entries):
            self.n_known += 1
            self._say(entries[: self.n_known], entries[self.n_known - 1].number)

    def _say(self, entries: Sequence[Entry], version: int) -> None:
        before, self.now = self.now, self.refusal(entries)
        if before is not None or not self.outcomes:
            self.free_from = version
        self.outcomes.add(self.now)
        if self.now in (ERASED, SUPPRESSED):  # what was refused anyway may be counted so
            anyway = self.static or self._by_consent(entries)
            self.outcomes |= {anyway} - {None}

    def refusal(self, entries: Sequence[Entry]) -> str | None:
        """Why it may not go after these."""
        return _barred(self.offset, entries) or self.static or self._by_consent(entries)

    def refusal_again(self, entries: Sequence[Entry], tried_ms: int) -> str | None:
        """The same of its dead letter, which knows when it was first tried, and not when it arrived."""
        return replace(self, arrived_ms=tried_ms).refusal(entries)

    def _by_consent(self, entries: Sequence[Entry]) -> str | None:
        decided = _remembered(entries)
        answers = [self._answer(purpose, decided) for purpose in self.destination.requires.all]
        if "no" in answers:
            return DENIED
        if "" in answers:
            return UNDECIDED
        if "later" not in answers:
            return None
        refused = {
            purpose
            for one in decided
            if one.recorded_ms >= self.arrived_ms
            for purpose, granted in one.said.items()
            if not granted
        }
        return None if refused.isdisjoint(self.destination.requires.all) else DENIED

    def _answer(self, purpose: str, decided: Sequence[Decision]) -> str:
        """The newest decision denies for good; a grant completes what the event left open when it is not newer, or
        came while the event could wait for it."""
        if purpose == "necessary":
            return "yes"
        stamped = dict(self.event.combo.stamp).get(purpose)
        about = [one for one in decided if purpose in one.said]
        newest = max(about, key=lambda one: (one.at_ms, not one.said[purpose]), default=None)
        if stamped is False or (newest is not None and not newest.said[purpose]):
            return "no"
        if stamped or (newest is not None and newest.at_ms <= self.event.at_ms):
            return "yes"
        waits = self.hold_ms is not None and newest is not None and newest.at_ms <= self.arrived_ms + self.hold_ms
        return "later" if waits else ""


def _remembered(entries: Sequence[Entry]) -> list[Decision]:
    """The decisions since the last time that anybody erased them."""
    decided: list[Decision] = []
    for one in entries:
        if isinstance(one, Decision):
            decided.append(one)
        elif not (isinstance(one, Regulation) and one.kind is Kind.SUPPRESS_ONLY):
            decided = []
    return decided


def _barred(offset: int, entries: Sequence[Entry]) -> str | None:
    """Whether an event was erased, or may not go because of whose it is."""
    barred = None
    for one in entries:
        if not isinstance(one, Regulation):
            continue
        if one.kind in (Kind.DELETE_ONLY, Kind.SUPPRESS_WITH_DELETE) and offset <= one.head:
            return ERASED
        if one.kind in (Kind.SUPPRESS_ONLY, Kind.SUPPRESS_WITH_DELETE):
            barred = SUPPRESSED
        elif one.kind is Kind.UNSUPPRESS and offset > one.head:
            barred = None
    return barred


class Judge:
    """Knows all events and all that was written about their subjects."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cases: dict[tuple[int, str], Case] = {}

    def appended(self, offset: int, event: SimEvent) -> None:
        """An event is in the log; decisions count from here on."""
        world = self._world
        for id, site in world.sites.items():  # a power cut gives offsets anew
            since = world.consent.version
            self._cases[offset, id] = Case(event, site.config, offset, world.now_ms(), world.hold_ms, since)

    def of(self, offset: int, id: str) -> Case:
        """What can be said of an event now."""
        case = self._cases[offset, id]
        case.learn(self._world.consent.of_subject.get(case.event.subject, ()))
        return case

    def now(self, offset: int, id: str) -> str | None:
        """Why it may not go now, None when it may."""
        return self.of(offset, id).now

    def of_letter(self, offset: int, id: str, tried_ms: int) -> str | None:
        """Why its dead letter may not go now, which says that it was first tried at this time."""
        case = self.of(offset, id)
        return case.now and case.refusal_again(self._world.consent.of_subject[case.event.subject], tried_ms)

    def outcomes(self, offset: int, id: str) -> set[str | None]:
        """Everything that could rightly be said of it at some time since it was stored."""
        return self.of(offset, id).outcomes

    def at_entry(self, offset: int, id: str, version: int, *, tried_ms: int | None = None) -> str | None:
        """Why it may not go by what was known at `version`, and by all that was answered to people since.

        `tried_ms` is for its dead letter, as in `of_letter`.
        """
        case = self.of(offset, id)
        entries = self._world.consent.of_subject.get(case.event.subject, [])
        known = [one for one in entries if one.number <= version or (one.answered and id not in one.late)]
        refusal = case.now if len(known) == len(entries) else case.refusal(known)
        return refusal and (refusal if tried_ms is None else case.refusal_again(known, tried_ms))
