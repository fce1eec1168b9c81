from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.model import ConsentModel, OnUndecided, Requirement
from sluicegate.consent.decision import Action, Judge, Reason, StampItems, Verdict
from sluicegate.consent.requirement import State, judge
from sluicegate.consent.standing import NO_STANDINGS, UNDECIDED, Standing, Standings
from tests.consent.model import model, needs_model
from tests.consent.test_slots import NAMES, every_state

G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED
OPT_IN, OPT_OUT = ConsentModel.OPT_IN, ConsentModel.OPT_OUT
MARKETING = Requirement(all=("marketing",))
DELIVER = Verdict(Action.DELIVER, Reason.DELIVERED)


def said(**purposes: bool) -> StampItems:
    return tuple(sorted(purposes.items()))


def stands(state: State, as_of_ms: int, purpose: str = "marketing") -> Standings:
    return Standings({purpose: Standing(state, as_of_ms)})


def verdict(stamp: StampItems, standings: Standings = NO_STANDINGS, *, time_ms: int = 5, **more: object) -> Verdict:
    return Judge(MARKETING).decide(stamp, standings, time_ms=time_ms, **more)  # type: ignore[arg-type]


def state_of(stamp: bool | None, standing: Standing, *, time_ms: int, model: ConsentModel, held: bool = False) -> State:
    stamped = () if stamp is None else said(marketing=stamp)
    found = verdict(stamped, Standings({"marketing": standing}), time_ms=time_ms, model=model, held=held)
    return {Action.DELIVER: G, Action.DROP: D, Action.HOLD: U}[found.action]


def test_statement_1_nothing_known_is_held_and_necessary_delivered() -> None:
    assert verdict(()) == Verdict(Action.HOLD, Reason.UNDECIDED, "marketing")
    assert Judge(Requirement(all=("necessary",))).decide((), NO_STANDINGS, time_ms=5) == DELIVER


def test_statement_2_nothing_known_is_delivered_under_opt_out() -> None:
    assert verdict((), model=OPT_OUT) == DELIVER


def test_statement_12_requirements_follow_kleene() -> None:
    def outcome(requires: Requirement, **purposes: bool) -> Action:
        return Judge(requires).decide(said(**purposes), NO_STANDINGS, time_ms=5).action

    both, either = Requirement(all=("a", "b")), Requirement(any=("a", "b"))

    assert outcome(both, a=True, b=False) is Action.DROP
    assert outcome(both, a=True) is Action.HOLD
    assert outcome(both, a=False) is Action.DROP
    assert outcome(either, a=False, b=True) is Action.DELIVER
    assert outcome(either, a=False) is Action.HOLD
    assert outcome(either, a=False, b=False) is Action.DROP


def test_statement_13_refusing_necessary_blocks_nothing() -> None:
    assert Judge(Requirement(all=("necessary",))).decide(said(necessary=False), NO_STANDINGS, time_ms=5) == DELIVER


def test_statement_15_withdrawn_after_collection_is_said_so() -> None:
    assert verdict(said(marketing=True), stands(D, 6)) == Verdict(Action.DROP, Reason.WITHDRAWN, "marketing")
    assert verdict((), stands(D, 6), was_granted=True).reason is Reason.WITHDRAWN
    assert verdict((), stands(D, 6)).reason is Reason.DENIED


def test_statement_17_denied_at_collection_stays_denied() -> None:
    assert verdict(said(marketing=False), stands(G, 9)).reason is Reason.DENIED_AT_COLLECTION
    assert verdict(said(marketing=False), stands(G, 9), held=True).action is Action.DROP
    assert verdict(said(marketing=False)).reason is Reason.DENIED


def test_statement_18_and_19_a_later_grant_releases_only_what_is_held() -> None:
    assert verdict((), stands(G, 9), held=True) == DELIVER
    assert verdict((), stands(G, 9)).reason is Reason.UNDECIDED
    assert verdict((), stands(G, 5)) == DELIVER


def test_statement_22_offline_event_from_before_the_withdrawal_is_not_delivered() -> None:
    assert verdict(said(marketing=True), stands(D, 8), time_ms=3).reason is Reason.WITHDRAWN


def test_statement_23_grant_on_the_event_does_not_beat_an_older_denial() -> None:
    assert verdict(said(marketing=True), stands(D, 2)) == Verdict(Action.DROP, Reason.DENIED, "marketing")


def test_statement_28_the_same_event_is_judged_by_the_requirement_in_force() -> None:
    stamp = said(measurement=True)

    assert Judge(Requirement(all=("measurement",))).decide(stamp, NO_STANDINGS, time_ms=5) == DELIVER
    assert Judge(Requirement(all=("measurement", "marketing"))).decide(stamp, NO_STANDINGS, time_ms=5) != DELIVER


def test_statement_41_without_a_subject_only_the_stamp_counts() -> None:
    assert verdict(said(marketing=True), NO_STANDINGS) == DELIVER


def test_undecided_events_are_dropped_where_they_are_not_to_be_held() -> None:
    strict = Judge(MARKETING, on_undecided=OnUndecided.DROP)

    assert strict.decide((), NO_STANDINGS, time_ms=5) == Verdict(Action.DROP, Reason.UNDECIDED, "marketing")


def test_a_requirement_without_purposes_delivers_nothing() -> None:
    assert Judge(Requirement()).decide((), NO_STANDINGS, time_ms=5).action is not Action.DELIVER


purposes = st.sampled_from(["necessary", "measurement", "marketing", "custom"])
requirements = st.builds(
    Requirement, all=st.lists(purposes, max_size=3).map(tuple), any=st.lists(purposes, max_size=3).map(tuple)
)
stamps = st.dictionaries(purposes, st.booleans()).map(lambda decided: tuple(sorted(decided.items())))
some_standings = st.dictionaries(
    purposes, st.builds(Standing, st.sampled_from(State), st.integers(1, 9)), max_size=4
).map(Standings)


@given(requirements, stamps, some_standings, st.integers(1, 9), st.booleans(), st.sampled_from(ConsentModel))
def test_remembered_verdicts_are_those_of_a_fresh_judge(
    requires: Requirement, stamp: StampItems, standings: Standings, time_ms: int, held: bool, law: ConsentModel
) -> None:
    used = Judge(requires)
    for other in range(1, 10):
        used.decide(stamp, standings, time_ms=other, model=law, held=held)

    again = used.decide(stamp, standings, time_ms=time_ms, model=law, held=held)

    assert again == Judge(requires).decide(stamp, standings, time_ms=time_ms, model=law, held=held)


@given(requirements, stamps)
def test_without_a_ledger_the_outcome_is_that_of_the_stamp(requires: Requirement, stamp: StampItems) -> None:
    action = Judge(requires).decide(stamp, NO_STANDINGS, time_ms=5).action

    assert action is {G: Action.DELIVER, D: Action.DROP, U: Action.HOLD}[judge(requires, dict(stamp))]


@given(requirements, stamps, some_standings, purposes, st.integers(1, 9), st.sampled_from(ConsentModel))
def test_a_denial_more_never_delivers(
    requires: Requirement, stamp: StampItems, standings: Standings, purpose: str, time_ms: int, law: ConsentModel
) -> None:
    before = Judge(requires).decide(stamp, standings, time_ms=time_ms, model=law).action
    stamped = tuple(sorted({**dict(stamp), purpose: False}.items()))
    denied = Standings({**standings.by_purpose, purpose: Standing(D, 5)})

    after = [
        Judge(requires).decide(stamped, standings, time_ms=time_ms, model=law).action,
        Judge(requires).decide(stamp, denied, time_ms=time_ms, model=law).action,
    ]

    assert before is Action.DELIVER or Action.DELIVER not in after


def test_what_a_judge_remembers_is_bounded_whatever_names_clients_send() -> None:
    decider = Judge(Requirement(("marketing",)))

    tracemalloc.start()
    for number in range(1_000):
        stamp = tuple((f"{number} {place:0100}", False) for place in range(100))
        assert decider.decide(stamp, NO_STANDINGS, time_ms=1).action is Action.HOLD
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert n_bytes < 16_000_000


@pytest.mark.parametrize("law", list(ConsentModel))
def test_no_information_is_granted_under_opt_out_alone(law: ConsentModel) -> None:
    assert state_of(None, UNDECIDED, time_ms=1, model=law) is (G if law is OPT_OUT else U)


@needs_model
def test_every_purpose_of_every_event_is_judged_as_in_the_model() -> None:
    values = {"G": True, "D": False, "U": None}
    standings = {model()["derive"](sl) for sl in every_state()}
    for known, stamp, time_ms, law, held in itertools.product(
        standings, values, (1, 2, 3), ConsentModel, (False, True)
    ):
        expected = model()["purpose"](stamp, time_ms, known, law.value, held)
        standing = Standing(NAMES[known[0]], known[1] or 0)

        state = state_of(values[stamp], standing, time_ms=time_ms, model=law, held=held)

        assert state is NAMES[expected], (known, stamp, time_ms, law, held)


@given(requirements, stamps, some_standings, st.integers(1, 9), st.integers(0, 10), st.sampled_from(ConsentModel))
def test_statement_19_only_a_grant_of_the_time_in_which_it_can_be_held_releases_an_event(
    requires: Requirement, stamp: StampItems, standings: Standings, time_ms: int, until_ms: int, law: ConsentModel
) -> None:
    in_time = Standings(
        {
            purpose: UNDECIDED
            if one.state is G and one.as_of_ms > max(time_ms, until_ms) and law is ConsentModel.OPT_IN
            else one
            for purpose, one in standings.by_purpose.items()
        }
    )
    judge_ = Judge(requires)

    action = judge_.decide(stamp, standings, time_ms=time_ms, model=law, held=True, until_ms=until_ms).action

    if law is ConsentModel.OPT_IN:
        assert action is judge_.decide(stamp, in_time, time_ms=time_ms, model=law, held=True).action
    without = judge_.decide(stamp, standings, time_ms=time_ms, model=law).action
    assert action is without or (without, action) == (Action.HOLD, Action.DELIVER)
