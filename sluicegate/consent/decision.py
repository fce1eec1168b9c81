"""Whether an event may go to a destination now: its stamp, the ledger, the model and ages, in one verdict."""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import NamedTuple

from sluicegate.config.model import ConsentModel, OnUndecided, Requirement
from sluicegate.consent.requirement import NECESSARY, State, all_of, any_of
from sluicegate.consent.standing import NEVER_MS, NO_STANDINGS, Standing, Standings

MAX_REMEMBERED = 65_536
"""Verdicts that a judge remembers, and purposes in their stamps: about 15 MB at most, however long these are, and far
more than sources and subjects produce in practice."""

StampItems = tuple[tuple[str, bool], ...]
"""What an event's own consent decided, as `Combo.stamp` has it."""


class Action(StrEnum):
    """What is done with an event at one destination."""

    DELIVER = "deliver"
    HOLD = "hold"
    DROP = "drop"


class Reason(StrEnum):
    """Why, in the words that the audit keeps; every (event, destination) pair ends in one of them."""

    DELIVERED = "delivered"
    DENIED = "denied"
    """A purpose that is required was refused, before or when the event was collected."""
    WITHDRAWN = "withdrawn"
    """It was granted when the event was collected, and is not any more."""
    DENIED_AT_COLLECTION = "denied_at_collection"
    """It was refused when the event was collected; what was granted later does not reach back."""
    UNDECIDED = "undecided"
    """Nobody said yes or no; final only where such events are dropped."""
    HOLD_EXPIRED = "hold_expired"
    """Nobody said yes or no for as long as events are held."""
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    TOO_OLD = "too_old"
    FAILED = "failed"


class Verdict(NamedTuple):
    """What to do, why, and the first purpose that stood in the way (empty when none did)."""

    action: Action
    reason: Reason
    purpose: str = ""


class _Since(Enum):
    """How a subject stands on a purpose, relative to the time of an event."""

    UNDECIDED = auto()
    GRANTED_BEFORE = auto()
    GRANTED_AFTER = auto()
    GRANTED_TOO_LATE = auto()
    """After the event, and after the time for which it can be held."""
    DENIED_BEFORE = auto()
    DENIED_AFTER = auto()


def _since(standing: Standing, time_ms: int, until_ms: int) -> _Since:
    state, as_of_ms, _ = standing
    if state is State.GRANTED:
        if time_ms >= as_of_ms:
            return _Since.GRANTED_BEFORE
        return _Since.GRANTED_AFTER if as_of_ms <= until_ms else _Since.GRANTED_TOO_LATE
    if state is State.DENIED:
        return _Since.DENIED_BEFORE if time_ms >= as_of_ms else _Since.DENIED_AFTER
    return _Since.UNDECIDED


def _state(said: bool | None, since: _Since, *, model: ConsentModel, held: bool) -> State:
    if said is False or since is _Since.DENIED_BEFORE or since is _Since.DENIED_AFTER:
        return State.DENIED
    if said is True or since is _Since.GRANTED_BEFORE:
        return State.GRANTED
    if since is _Since.GRANTED_AFTER:
        return State.GRANTED if held else State.UNDECIDED
    if since is _Since.GRANTED_TOO_LATE:
        return State.UNDECIDED
    return State.UNDECIDED if model is ConsentModel.OPT_IN else State.GRANTED


class Judge:
    """Takes the decisions of one destination, each kind of case once.

    A decision depends on the stamp and, for each required purpose, on six possible standings; so the memory stays
    small however many subjects there are.
    """

    def __init__(self, requires: Requirement, *, on_undecided: OnUndecided = OnUndecided.HOLD) -> None:
        self._requires = requires
        self._on_undecided = on_undecided
        self._purposes = tuple(purpose for purpose in requires.purposes if purpose != NECESSARY)
        self._of_nobody = (_Since.UNDECIDED,) * len(self._purposes)
        self._verdicts: dict[tuple[object, ...], Verdict] = {}
        self._n_remembered = 0

    def decide(
        self,
        stamp: StampItems,
        standings: Standings,
        *,
        time_ms: int,
        model: ConsentModel = ConsentModel.OPT_IN,
        held: bool = False,
        until_ms: int = NEVER_MS,
        was_granted: bool = False,
    ) -> Verdict:
        """The verdict on one event.

        `held` is true for an event that waits for this decision, which must have been taken by `until_ms`;
        `was_granted` when the ledger granted what the event's stamp left open at its acceptance, which makes a denial
        a withdrawal.
        """
        if standings is NO_STANDINGS:
            since = self._of_nobody
        else:
            since = tuple([_since(standings.of(purpose), time_ms, until_ms) for purpose in self._purposes])
        case = (stamp, since, model, held, was_granted)
        verdict = self._verdicts.get(case)
        if verdict is None:
            self._n_remembered += 1 + len(stamp)
            if self._n_remembered > MAX_REMEMBERED:
                self._verdicts.clear()
                self._n_remembered = 1 + len(stamp)
            verdict = self._verdicts[case] = self._judge(*case)
        return verdict

    def refused_before(self, stamp: StampItems, standings: Standings, *, time_ms: int) -> bool:
        """Whether every refusal is as old as the event: told by its stamp, or known when it was collected."""
        said = dict(stamp)
        return not any(
            said.get(purpose) is not False and _since(standings.of(purpose), time_ms, NEVER_MS) is _Since.DENIED_AFTER
            for purpose in self._purposes
        )

    def _judge(
        self, stamp: StampItems, since: tuple[_Since, ...], model: ConsentModel, held: bool, was_granted: bool
    ) -> Verdict:
        said = dict(stamp)
        standing = dict(zip(self._purposes, since, strict=True))
        states = {
            purpose: _state(said.get(purpose), standing[purpose], model=model, held=held) for purpose in self._purposes
        }
        states[NECESSARY] = State.GRANTED
        outcome = self._combined(states)
        if outcome is State.GRANTED:
            return Verdict(Action.DELIVER, Reason.DELIVERED)
        purpose = next((purpose for purpose in self._in_question(states) if states[purpose] is outcome), "")
        if outcome is State.UNDECIDED:
            action = Action.HOLD if self._on_undecided is OnUndecided.HOLD else Action.DROP
            return Verdict(action, Reason.UNDECIDED, purpose)
        return Verdict(Action.DROP, _refusal(said.get(purpose), standing[purpose], was_granted), purpose)

    def _combined(self, states: dict[str, State]) -> State:
        requires = self._requires
        if not requires.purposes:
            return State.UNDECIDED
        found = [states[purpose] for purpose in requires.all]
        if requires.any:
            found.append(any_of(states[purpose] for purpose in requires.any))
        return all_of(found)

    def _in_question(self, states: dict[str, State]) -> tuple[str, ...]:
        """The purposes that can have decided the outcome; `any` has no say when one of them is granted."""
        requires = self._requires
        met = any(states[purpose] is State.GRANTED for purpose in requires.any)
        return requires.all if met else requires.all + requires.any


def _refusal(said: bool | None, since: _Since, was_granted: bool) -> Reason:
    """Which kind of denial it is."""
    if said is False:
        later = since in (_Since.GRANTED_BEFORE, _Since.GRANTED_AFTER, _Since.GRANTED_TOO_LATE)
        return Reason.DENIED_AT_COLLECTION if later else Reason.DENIED
    if since is _Since.DENIED_AFTER and (said is True or was_granted):
        return Reason.WITHDRAWN
    return Reason.DENIED
