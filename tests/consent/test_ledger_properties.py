from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.consent.evidence import Evidence, Told
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.slots import Slot, Write
from sluicegate.consent.standing import Rules
from sluicegate.consent.subject import Subject
from sluicegate.consent.view import LedgerView
from tests.consent.model import model, needs_model
from tests.consent.saying import ANNE, ANNE_ON_PHONE, LAPTOP, NOW_MS, PHONE, alias, identify, seen, state, told
from tests.consent.test_slots import NAMES

ids = st.sampled_from([ANNE, PHONE, LAPTOP, ANNE_ON_PHONE, Subject("anne", "laptop"), Subject("ben", "laptop")])
entries = st.lists(
    st.one_of(
        st.builds(told, ids, st.booleans(), st.integers(1, 9)),
        st.builds(seen, ids, st.booleans(), st.integers(1, 9)),
        st.builds(identify, st.sampled_from(["phone", "laptop"]), st.sampled_from(["anne", "ben"]), st.integers(1, 9)),
        st.builds(alias, st.just("ben"), st.just("anne"), st.integers(1, 9)),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(entries, st.integers(0, 2**32))
def test_a_warm_view_always_answers_like_a_cold_one(tmp_path_factory: Any, done: list[Any], seed: int) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder / "consent.db", folder / "consent.key")
    warm = LedgerView(ledger.path, folder / "consent.key", Rules(), max_remembered=3)
    chance = random.Random(seed)
    everyone = [ANNE, PHONE, LAPTOP, ANNE_ON_PHONE, Subject("anne", "laptop"), Subject("ben", "laptop")]
    for entry in done:
        chance.shuffle(everyone)
        warm.of_many(everyone[:3])
        ledger.record([entry], now_ms=NOW_MS)
        warm.refresh()
        cold = LedgerView(ledger.path, folder / "consent.key", Rules())
        assert [one.slots for one in warm.of_many(everyone)] == [cold.of(subject).slots for subject in everyone]
        cold.close()
    warm.close()
    ledger.close()


@needs_model
@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(Slot), st.booleans(), st.integers(1, 4), st.sampled_from([PHONE, ANNE_ON_PHONE])),
        max_size=6,
    ),
    st.booleans(),
)
def test_the_stored_state_is_that_of_the_model(tmp_path_factory: Any, done: list[Any], at_once: bool) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder / "consent.db", folder / "consent.key")
    told_ = [Told(s, {"p": (Write(slot, granted, at_ms),)}, Evidence.API) for slot, granted, at_ms, s in done]
    for group in [told_] if at_once else [[one] for one in told_]:
        ledger.record(group, now_ms=NOW_MS)
    allowed = [
        (slot.name.lower(), "G" if granted else "D", at_ms)
        for slot, granted, at_ms, _ in done
        if not (granted and slot in (Slot.ADMIN, Slot.GPC))
    ]

    view = LedgerView(ledger.path, folder / "consent.key", Rules())
    stored = state(view, ANNE_ON_PHONE, "p")
    view.close()
    ledger.close()

    assert stored is NAMES[model()["derive"](model()["ledger"](*allowed))[0]]
