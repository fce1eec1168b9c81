"""Whether an event might go to a destination at a moment: consent as the oracle sees it, apart from the product."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sluicegate.config.model import DestinationConfig
from tests.simulation.consent import Decision
from tests.simulation.eventlog import SimEvent

if TYPE_CHECKING:
    from tests.simulation.world import World

DENIED = "denied"
UNDECIDED = "undecided"
_WORDS = {"consent_denied": DENIED, "withdrawn": DENIED, "consent_undecided": UNDECIDED}


def kind_of(reason: str) -> str:
    """The product's words for a denial, as few as the judge can tell apart."""
    return _WORDS.get(reason, reason)


def refusal(event: SimEvent, destination: DestinationConfig, decisions: Iterable[Decision] = ()) -> str | None:
    """Why a destination may not have an event after these decisions, None when it may."""
    if destination.events and event.combo.type not in destination.events:
        return "event_type"
    if destination.id in event.combo.integrations_off:
        return "integrations"
    said = dict(event.combo.stamp)
    decided = list(decisions)
    answers = [
        True if purpose == "necessary" else _answer(said.get(purpose), purpose, event.at_ms, decided)
        for purpose in destination.requires.all
    ]
    if False in answers:
        return DENIED
    return None if answers and all(answers) else UNDECIDED


def _answer(stamped: bool | None, purpose: str, at_ms: int, decisions: list[Decision]) -> bool | None:
    """The newest decision denies for good; a grant completes what the event left open when it is not newer."""
    about = [one for one in decisions if purpose in one.said]
    newest = max(about, key=lambda one: (one.at_ms, not one.said[purpose]), default=None)
    if stamped is False or (newest is not None and not newest.said[purpose]):
        return False
    if stamped or (newest is not None and newest.at_ms <= at_ms):
        return True
    return None


class Judge:
    """Knows all events and all decisions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[int, int] = {}
        self._static: dict[tuple[int, str], str | None] = {}
        self._outcomes: dict[tuple[int, str], tuple[int, set[str | None]]] = {}

    def appended(self, offset: int, event: SimEvent) -> None:
        """An event is in the log; decisions count from here on."""
        for id in self._world.sites:
            self._outcomes.pop((offset, id), None)  # a power cut gives offsets anew
        self._since[offset] = len(self._world.consent.decisions)
        for id, site in self._world.sites.items():
            self._static[offset, id] = refusal(event, site.config)

    def now(self, offset: int, id: str) -> str | None:
        """Why it may not go now, None when it may."""
        decisions = self._about(offset)
        return self._refusal(offset, id, decisions) if decisions else self._static[offset, id]

    def at_entry(self, offset: int, id: str, version: int) -> str | None:
        """The same by what was known at `version`, and by all that was answered to people since."""
        decisions = [
            one for one in self._about(offset) if one.number <= version or (one.answered and id not in one.late)
        ]
        return self._refusal(offset, id, decisions) if decisions else self._static[offset, id]

    def outcomes(self, offset: int, id: str) -> set[str | None]:
        """Everything that could rightly be said of it at some time since it was stored."""
        decisions = self._about(offset)
        if not decisions:
            return {self._static[offset, id]}
        known = self._outcomes.get((offset, id))
        if known is None or known[0] != len(decisions):
            known = self._outcomes[offset, id] = len(decisions), self._work_out(offset, id, decisions)
        return known[1]

    def _work_out(self, offset: int, id: str, decisions: list[Decision]) -> set[str | None]:
        since = self._since[offset]
        before = [one for one in decisions if one.number <= since]
        found = {self._refusal(offset, id, before)}
        for one in decisions[len(before) :]:
            before.append(one)
            found.add(self._refusal(offset, id, before))
        return found

    def _about(self, offset: int) -> list[Decision]:
        return self._world.consent.of_subject.get(self._world.oracle.events[offset].subject, [])

    def _refusal(self, offset: int, id: str, decisions: Iterable[Decision]) -> str | None:
        return refusal(self._world.oracle.events[offset], self._world.sites[id].config, decisions)
