import itertools

import pytest

from sluicegate.config.model import Requirement
from sluicegate.consent.requirement import State, all_of, any_of, judge

G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED
DECIDED = {"granted": True, "denied": False}


@pytest.mark.parametrize(("states", "expected"), [((G, D), D), ((G, U), U), ((D, U), D), ((G, G), G), ((), G)])
def test_statement_12_all_is_kleene_and(states: tuple[State, ...], expected: State) -> None:
    assert all_of(states) is expected


@pytest.mark.parametrize(("states", "expected"), [((D, G), G), ((D, U), U), ((D, D), D), ((U, G), G), ((), D)])
def test_statement_12_any_is_kleene_or(states: tuple[State, ...], expected: State) -> None:
    assert any_of(states) is expected


@pytest.mark.parametrize("states", list(itertools.product((G, D, U), repeat=3)))
def test_kleene_logic_grants_only_what_plain_logic_would(states: tuple[State, ...]) -> None:
    assert (all_of(states) is G) == all(state is G for state in states)
    assert (any_of(states) is G) == any(state is G for state in states)


def test_statement_1_undecided_grants_necessary_only() -> None:
    assert judge(Requirement(all=("necessary",)), {}) is G
    assert judge(Requirement(all=("marketing",)), {}) is U


def test_statement_6_unknown_purposes_have_no_effect_on_known_ones() -> None:
    assert judge(Requirement(all=("granted",)), {**DECIDED, "unheard_of": False}) is G


def test_statement_13_refusing_necessary_blocks_nothing() -> None:
    assert judge(Requirement(all=("necessary",)), {"necessary": False}) is G


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement(all=("granted",), any=("granted", "denied")), G),
        (Requirement(all=("granted",), any=("denied", "unknown")), U),
        (Requirement(all=("granted",), any=("denied",)), D),
        (Requirement(all=("denied",), any=("granted",)), D),
        (Requirement(any=("unknown", "granted")), G),
    ],
)
def test_all_and_any_must_both_hold(requirement: Requirement, expected: State) -> None:
    assert judge(requirement, DECIDED) is expected


def test_requirement_that_names_no_purpose_is_not_granted() -> None:
    assert judge(Requirement(), DECIDED) is U
