from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.consent.requirement import State
from sluicegate.consent.slots import EMPTY, MAX_MS, Slot, Slots, Write, join, joined, merge
from sluicegate.consent.standing import NO_STANDINGS, Rules, SubjectConsent, derive
from tests.consent.model import model, needs_model

G, D, U = State.GRANTED, State.DENIED, State.UNDECIDED
FOREVER = Rules()
NOW_MS = 1_000_000
NAMES = {"G": G, "D": D, "U": U}

writes = st.builds(
    Write,
    st.sampled_from(Slot),
    st.booleans(),
    st.integers(1, 6),
    st.sampled_from([0, 4, 9]),
    st.sampled_from(["", "v1", "v2"]),
)


def decided(granted: bool, at_ms: int, **more: Any) -> Write:
    return Write(Slot.DECIDED, granted, at_ms, **more)


def seen(granted: bool, at_ms: int) -> Write:
    return Write(Slot.SEEN, granted, at_ms)


def withdrawn(at_ms: int) -> Write:
    return Write(Slot.ADMIN, False, at_ms)


def state(*done: Write, gpc: bool = True, rules: Rules = FOREVER, now_ms: int = NOW_MS) -> State:
    return derive(joined(done), rules, gpc=gpc, now_ms=now_ms).state


def test_statement_25_equal_times_deny_in_either_order() -> None:
    assert state(decided(True, 4), decided(False, 4)) is D
    assert state(decided(False, 4), decided(True, 4)) is D


def test_statement_23_undated_grant_never_beats_an_explicit_denial() -> None:
    assert state(decided(False, 5), seen(True, 9)) is D


def test_statement_23_dated_evidence_is_compared_by_its_date() -> None:
    assert state(decided(False, 5), decided(True, 8)) is G
    assert state(decided(False, 5), decided(True, 3)) is D
    assert state(decided(True, 5), decided(False, 3)) is G


def test_statement_23_undated_denial_beats_an_older_explicit_grant() -> None:
    assert state(decided(True, 10), seen(False, 16)) is D
    assert state(decided(True, 10), seen(False, 10)) is G


def test_statement_24_stamps_alone_count_by_the_newest() -> None:
    assert state(seen(False, 5), seen(True, 9)) is G
    assert state(seen(True, 5), seen(False, 9)) is D


def test_statement_21_the_state_is_that_of_the_moment() -> None:
    grant, withdrawal, again = decided(True, 3), withdrawn(5), decided(True, 7)

    states = [state(*done) for done in ((grant,), (grant, withdrawal), (grant, withdrawal, again))]

    assert states == [G, D, G]


def test_withdrawal_holds_until_a_newer_explicit_grant() -> None:
    assert state(withdrawn(4), seen(True, 9)) is D
    assert state(withdrawn(4), decided(True, 9)) is G
    assert state(withdrawn(4), decided(True, 4)) is D
    assert state(withdrawn(4), decided(True, 9), seen(False, 10)) is D


def test_statement_42_gpc_denies_whatever_else_grants() -> None:
    signal = Write(Slot.GPC, False, 1)

    assert state(decided(True, 9), signal) is D
    assert state(decided(True, 9), signal, gpc=False) is G


@pytest.mark.parametrize("slot", [Slot.GPC, Slot.ADMIN])
def test_nothing_can_be_granted_where_only_denials_count(slot: Slot) -> None:
    assert joined([Write(slot, True, 5)]) == EMPTY


def test_statement_27_grants_run_out() -> None:
    year = Rules(ttl_ms=100)

    assert state(decided(True, 50), rules=year, now_ms=149) is G
    assert state(decided(True, 50), rules=year, now_ms=150) is U
    assert state(seen(True, 50), rules=year, now_ms=150) is U
    assert state(decided(True, 50, until_ms=60), now_ms=60) is U
    assert state(decided(False, 50), rules=year, now_ms=9_999) is D


def test_statement_27_grants_under_another_policy_are_undecided() -> None:
    v2 = Rules(require_policy="v2")

    assert state(decided(True, 5, policy="v2"), rules=v2) is G
    assert state(decided(True, 5, policy="v1"), rules=v2) is U
    assert state(decided(True, 5), rules=v2) is U
    assert state(seen(True, 5), rules=v2) is U
    assert state(decided(False, 5, policy="v1"), rules=v2) is D


def test_equal_grants_hold_until_the_earlier_end_under_the_policy_both_name() -> None:
    one, other = decided(True, 5, until_ms=9, policy="v1"), decided(True, 5, until_ms=7, policy="v2")

    assert joined([one, other]) == joined([other, one]) == Slots(decided=10, until_ms=7)


def test_statement_40_ids_of_one_person_join_by_the_newest_denial_or_grant() -> None:
    anonymous, user = {"marketing": joined([decided(True, 2)])}, {"marketing": joined([decided(False, 3)])}

    merged = merge([anonymous, user])

    assert derive(merged["marketing"], FOREVER, gpc=True, now_ms=NOW_MS).state is D


@given(st.lists(writes, max_size=5), st.randoms(use_true_random=False))
def test_statement_25_every_order_and_repetition_comes_to_the_same(done: list[Write], random: Any) -> None:
    again = [*done, *done]
    random.shuffle(again)

    assert joined(again) == joined(done)


@given(st.lists(writes, max_size=4), st.lists(writes, max_size=4), st.lists(writes, max_size=4))
def test_joining_is_associative_and_commutative(a: list[Write], b: list[Write], c: list[Write]) -> None:
    x, y, z = joined(a), joined(b), joined(c)

    assert join(x, y) == join(y, x)
    assert join(join(x, y), z) == join(x, join(y, z))


@given(st.lists(writes, max_size=5), st.sampled_from(Slot), st.integers(1, 8), st.booleans(), st.integers(1, 30))
def test_a_denial_more_never_grants(done: list[Write], slot: Slot, at_ms: int, gpc: bool, now_ms: int) -> None:
    rules = Rules(ttl_ms=10)
    before = state(*done, gpc=gpc, rules=rules, now_ms=now_ms)

    after = state(*done, Write(slot, False, at_ms), gpc=gpc, rules=rules, now_ms=now_ms)

    assert before is G or after is not G


@given(st.integers(), st.integers(), st.booleans())
def test_no_time_is_too_odd(at_ms: int, until_ms: int, granted: bool) -> None:
    slots = Write(Slot.DECIDED, granted, at_ms, until_ms).slots

    assert 0 < slots.decided <= 2 * MAX_MS + 1
    assert 0 <= slots.until_ms <= MAX_MS


def test_a_standing_is_worked_out_again_when_a_grant_has_run_out() -> None:
    subject = SubjectConsent({"marketing": joined([decided(True, 50, until_ms=60)])}, FOREVER)

    early, same = (subject.standings(gpc=True, now_ms=now_ms) for now_ms in (55, 59))
    late = subject.standings(gpc=True, now_ms=60)

    assert early is same
    assert (early.of("marketing").state, late.of("marketing").state) == (G, U)


def test_who_is_not_known_stands_nowhere_and_necessary_is_granted() -> None:
    standings = SubjectConsent({}, FOREVER).standings(gpc=True, now_ms=0)

    assert standings is NO_STANDINGS
    assert (standings.of("marketing").state, standings.of("necessary").state) == (U, G)


# -- the same answers as the model ------------------------------------------------------------------------------------


def ours(sl: dict[str, tuple[str, int]]) -> list[Write]:
    return [Write(Slot[name.upper()], value == "G", at_ms) for name, (value, at_ms) in sl.items()]


def every_state() -> list[dict[str, tuple[str, int]]]:
    times = (1, 2, 3)
    denials: list[Any] = [None, *(("D", t) for t in times)]
    both: list[Any] = [None, *((v, t) for v in "GD" for t in times)]
    combined = itertools.product(denials, both, both, denials)
    return [
        {name: value for name, value in zip(("admin", "decided", "seen", "gpc"), values, strict=True) if value}
        for values in combined
    ]


@needs_model
def test_every_state_derives_as_in_the_model() -> None:
    for sl in every_state():
        expected, as_of_ms = model()["derive"](sl)

        standing = derive(joined(ours(sl)), FOREVER, gpc=True, now_ms=NOW_MS)

        assert (standing.state, standing.as_of_ms) == (NAMES[expected], as_of_ms or 0), sl


@needs_model
def test_every_three_writes_in_every_order_come_to_what_the_model_says() -> None:
    for three in itertools.combinations(model()["W"], 3):
        expected, _ = model()["derive"](model()["ledger"](*three))
        for ordered in itertools.permutations(three):
            done = [Write(Slot[name.upper()], value == "G", at_ms) for name, value, at_ms in ordered]

            assert state(*done) is NAMES[expected], ordered
