from __future__ import annotations

from typing import Any

import pytest

from sluicegate.acceptance import Reason
from sluicegate.acceptance.combining import Telling
from sluicegate.consent.evidence import Evidence
from tests.consent.test_tcf import MEASURE, core, disclosed, written
from tests.test_acceptance_consent import MEASURES, NOW_MS, accept, event, one, stamp, telling

DAY_MS = 1_795_392_000_000
"""When `MEASURE` was updated, in Unix milliseconds."""


@pytest.mark.parametrize(
    "members", [{"context": {"tcf": {"tcString": MEASURE}}}, {"gdpr_consent": MEASURE}], ids=["context", "gdpr_consent"]
)
def test_statement_45_a_tc_string_is_a_stamp_that_is_dated_by_its_day(members: dict[str, Any]) -> None:
    found = telling(event(**members))

    assert dict(found.stamp) == dict(found.told) == MEASURES
    assert (found.evidence, found.decided_at_ms) == (Evidence.TCF, DAY_MS)


@pytest.mark.parametrize(
    "text",
    [
        MEASURE[:-2],
        MEASURE + "!",
        "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA",
        written(core(service_specific=0)),
        written(core(policy=3)),
        "a.b.c.d.e",
        "A" * 100_000,
        "\u0661",
        7,
        True,
        [MEASURE],
        {"tcString": MEASURE},
    ],
    ids=lambda value: str(value)[:12],
)
def test_statement_45_what_is_no_tc_string_leaves_everything_undecided(text: Any) -> None:
    members = {"context": {"tcf": {"tcString": text}, "consent": {"categoryPreferences": {"marketing": True}}}}
    accepted = accept(event(**members))

    if accepted.rejected:
        assert accepted.rejected[0].reason is Reason.TOO_LARGE
    else:
        assert (dict(accepted.batch.combos[0].stamp), accepted.malformed_consent) == ({}, 1)


@pytest.mark.parametrize("tcf", [[], "x", 3, True])
def test_statement_45_a_tcf_member_of_the_wrong_shape_grants_nothing(tcf: Any) -> None:
    accepted = accept(event(context={"tcf": tcf}, consent={"marketing": True, "measurement": False}))

    assert (dict(accepted.batch.combos[0].stamp), accepted.malformed_consent) == ({"measurement": False}, 1)


@pytest.mark.parametrize("tcf", [None, {}, {"tcString": ""}, {"tcString": None}, {"gdprApplies": False}])
def test_without_a_tc_string_nothing_is_said(tcf: Any) -> None:
    assert stamp(event(context={"tcf": tcf}, consent={"marketing": True})) == {"marketing": True}


def test_statement_45_a_vendor_is_a_purpose_that_needs_its_bit_and_disclosure() -> None:
    vendors = ((10, 16), (0, 1), *((int(n in (2, 3)), 1) for n in range(1, 11)))
    text = f"{written(core(vendors=vendors))}.{disclosed(2)}"

    found = stamp(event(gdpr_consent=text), vendors=(1, 2, 3, 99))

    assert found == {**MEASURES, "tcf:1": False, "tcf:2": True, "tcf:3": False, "tcf:99": False}


def test_statement_45_without_purpose_1_no_vendor_is_allowed_either() -> None:
    vendors = ((10, 16), (0, 1), *((1, 1) for _ in range(10)))
    text = f"{written(core(purposes=(2, 3, 4, 7), vendors=vendors))}.{disclosed(*range(1, 11))}"

    assert set(stamp(event(gdpr_consent=text), vendors=(2,)).values()) == {False}


def test_statement_9_a_tc_string_and_another_dialect_give_the_most_restrictive_without_a_date() -> None:
    found = one(event(gdpr_consent=MEASURE, consent={"measurement": False, "marketing": True, "givenAt": NOW_MS}))

    assert dict(found.stamp) == {**MEASURES, "measurement": False}
    assert not isinstance(found, Telling)


def test_two_tc_strings_that_differ_have_no_date() -> None:
    other = written(core(purposes=(1, 2, 3, 4)))

    found = one(event(gdpr_consent=MEASURE, context={"tcf": {"tcString": other}}))

    assert set(dict(found.stamp).values()) == {False}
    assert not isinstance(found, Telling)


def test_a_batchs_tc_string_holds_for_events_that_say_nothing() -> None:
    accepted = accept(event(), event(consent={"marketing": True}), context={"tcf": {"tcString": MEASURE}})

    assert [dict(combo.stamp) for combo in accepted.batch.combos] == [MEASURES, {"marketing": True}]
