"""Whether the purposes that a destination requires are granted: Kleene's three-valued logic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from sluicegate.config.model import Requirement

NECESSARY = "necessary"
"""The purpose that needs nobody's consent, and that no consent can deny."""


class State(StrEnum):
    """What is known about a purpose, or about a whole requirement."""

    GRANTED = "granted"
    DENIED = "denied"
    UNDECIDED = "undecided"


def all_of(states: Iterable[State]) -> State:
    """Denied if one is denied, else undecided if one is undecided, else granted."""
    found = set(states)
    if State.DENIED in found:
        return State.DENIED
    return State.UNDECIDED if State.UNDECIDED in found else State.GRANTED


def any_of(states: Iterable[State]) -> State:
    """Granted if one is granted, else undecided if one is undecided, else denied."""
    found = set(states)
    if State.GRANTED in found:
        return State.GRANTED
    return State.UNDECIDED if State.UNDECIDED in found else State.DENIED


def state_of(purpose: str, decided: Mapping[str, bool]) -> State:
    """The state of one purpose under opt-in, where what was not decided is undecided."""
    if purpose == NECESSARY:
        return State.GRANTED
    if purpose not in decided:
        return State.UNDECIDED
    return State.GRANTED if decided[purpose] is True else State.DENIED


def judge(requirement: Requirement, decided: Mapping[str, bool]) -> State:
    """The state of a requirement; one that names no purpose is never granted."""
    if not requirement.purposes:
        return State.UNDECIDED
    states = [state_of(purpose, decided) for purpose in requirement.all]
    if requirement.any:
        states.append(any_of(state_of(purpose, decided) for purpose in requirement.any))
    return all_of(states)
