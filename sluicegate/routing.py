"""Whether an event may go to a destination, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from sluicegate.config.model import DestinationConfig, OnDenied
from sluicegate.consent.requirement import State, judge
from sluicegate.event import CONSENT_TYPE, ERASED, Combo, plain_name
from sluicegate.redaction import REDACTABLE

MAX_DECISIONS = 65_536
"""Decisions that a table remembers: about 5 MB, and far more combinations than sources produce in practice."""
CHARS_OF_A_DECISION = 100
"""So many characters of names in a combination take the room of one more decision: clients choose them."""


class Decision(StrEnum):
    """Allowed, or the reason why not; the reasons are what accounts of denied events are kept by."""

    ALLOW = "allow"
    EVENT_TYPE = "event_type"
    """The destination does not want events of this type."""
    INTEGRATIONS = "integrations"
    """The event's `integrations` takes the destination out."""
    CONSENT_DENIED = "consent_denied"
    """A purpose that the destination requires was refused."""
    CONSENT_UNDECIDED = "consent_undecided"
    """Nobody said yes or no to a purpose that the destination requires; not delivered, like a refusal.

    Also where somebody said no and the event may go redacted: what follows is decided event by event.
    """
    ERASED = ERASED
    """The event was erased; an empty placeholder has its place."""


_BY_STATE = {
    State.GRANTED: Decision.ALLOW,
    State.DENIED: Decision.CONSENT_DENIED,
    State.UNDECIDED: Decision.CONSENT_UNDECIDED,
}


def decide(combo: Combo, destination: DestinationConfig) -> Decision:
    """The decision for every event of this combination; `integrations` only ever takes away."""
    if combo.type == ERASED:
        return Decision.ERASED
    if combo.type == CONSENT_TYPE:
        return _decide_notice(combo, destination)
    if destination.events and combo.type not in destination.events:
        return Decision.EVENT_TYPE
    if not _integrated(combo, {plain_name(destination.id), plain_name(destination.type)}):
        return Decision.INTEGRATIONS
    decision = _BY_STATE[judge(destination.requires, dict(combo.stamp))]
    if decision is Decision.CONSENT_DENIED and may_be_redacted(combo, destination):
        return Decision.CONSENT_UNDECIDED
    return decision


def may_be_redacted(combo: Combo, destination: DestinationConfig) -> bool:
    """Whether a refusal leaves open if events of this combination go: then it takes more than a stamp to decide."""
    return destination.on_denied is OnDenied.REDACT and combo.type in REDACTABLE


def _decide_notice(combo: Combo, destination: DestinationConfig) -> Decision:
    """That consent has changed is told to whoever asked for it, whatever consent says, and to nobody else."""
    if not destination.receives_consent_events:
        return Decision.EVENT_TYPE
    is_in = _integrated(combo, {plain_name(destination.id), plain_name(destination.type)})
    return Decision.ALLOW if is_in else Decision.INTEGRATIONS


def _integrated(combo: Combo, names: set[str]) -> bool:
    if not names.isdisjoint(combo.integrations_off):
        return False
    return not combo.all_off or not names.isdisjoint(combo.integrations_on)


def _n_chars(combo: Combo) -> int:
    purposes = (purpose for purpose, _ in combo.stamp)
    return sum(map(len, (*purposes, *combo.integrations_off, *combo.integrations_on)))


class RoutingTable:
    """The decisions for a fixed set of destinations, each taken once per combination and then looked up."""

    def __init__(self, destinations: Iterable[DestinationConfig], *, max_decisions: int = MAX_DECISIONS) -> None:
        self._destinations = tuple(destinations)
        self._rows: dict[Combo, Mapping[str, Decision]] = {}
        self._max_decisions = max_decisions
        self._n_decisions = 0

    def decisions(self, combo: Combo) -> Mapping[str, Decision]:
        """The decision for every destination, by its id."""
        row = self._rows.get(combo)
        if row is None:
            n_decisions = len(self._destinations) + _n_chars(combo) // CHARS_OF_A_DECISION
            self._n_decisions += n_decisions
            if self._n_decisions > self._max_decisions:
                self._rows.clear()
                self._n_decisions = n_decisions
            row = {destination.id: decide(combo, destination) for destination in self._destinations}
            self._rows[combo] = row
        return row

    def decide(self, combo: Combo, destination_id: str) -> Decision:
        """The decision for one destination; raises `KeyError` for one that is not in the table."""
        return self.decisions(combo)[destination_id]

    def permitted(self, combo: Combo) -> tuple[str, ...]:
        """The ids of the destinations that may have events of this combination."""
        return tuple(name for name, decision in self.decisions(combo).items() if decision is Decision.ALLOW)
