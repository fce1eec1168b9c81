from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.model import ConsentModel, Requirement
from sluicegate.consent.decision import Action, Judge
from sluicegate.consent.slots import Slots, mark
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent

PURPOSES = ("functionality", "measurement", "marketing")
marks = st.one_of(st.just(0), st.builds(mark, st.booleans(), st.integers(1, 9)))
slots = st.builds(Slots, marks, marks, marks, marks, st.integers(0, 9), st.just(""))
subjects = st.dictionaries(st.sampled_from(PURPOSES), slots).map(lambda known: SubjectConsent(known, Rules()))
requirements = st.builds(
    Requirement,
    all=st.lists(st.sampled_from(PURPOSES), unique=True, min_size=1).map(tuple),
    any=st.lists(st.sampled_from(PURPOSES), unique=True).map(tuple),
)


def test_denied_purposes_are_those_with_a_denial_in_any_slot() -> None:
    known = {
        "marketing": Slots(decided=mark(True, 2), gpc=mark(False, 1)),
        "measurement": Slots(decided=mark(True, 2)),
        "functionality": Slots(seen=mark(False, 3)),
    }

    subject = SubjectConsent(known, Rules())

    assert subject.denied == {"marketing", "functionality"}
    assert UNKNOWN_SUBJECT.denied == frozenset()


@given(subjects, requirements, st.sampled_from(ConsentModel), st.integers(0, 10), st.booleans())
def test_what_a_stamp_grants_is_overruled_by_denials_of_what_is_required_alone(
    subject: SubjectConsent, requires: Requirement, model: ConsentModel, time_ms: int, gpc: bool
) -> None:
    stamp = tuple((purpose, True) for purpose in sorted(PURPOSES))

    verdict = Judge(requires).decide(stamp, subject.standings(gpc=gpc, now_ms=time_ms), time_ms=time_ms, model=model)

    if subject.denied.isdisjoint(requires.purposes):
        assert verdict.action is Action.DELIVER
