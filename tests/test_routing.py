import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.event import CONSENT_TYPE, Combo, names_of, stamp_of
from sluicegate.routing import Decision, RoutingTable, decide

YES = {"measurement": True}
NO = {"measurement": False}


def destination(id: str = "crm", type: str = "webhook", **changes: Any) -> DestinationConfig:
    return DestinationConfig(id, type, **{"requires": Requirement(all=("measurement",)), **changes})


def combo(said: dict[str, bool] | None = None, /, **changes: Any) -> Combo:
    names: dict[str, Any] = {
        key: names_of(changes.pop(key)) for key in ("integrations_off", "integrations_on") if key in changes
    }
    return Combo("track", "web", stamp_of(said or {}))._replace(**names, **changes)


def test_event_with_every_required_purpose_granted_is_allowed() -> None:
    assert decide(combo(YES), destination()) is Decision.ALLOW


def test_event_without_consent_is_undecided_unless_only_necessary_is_required() -> None:
    assert decide(combo(), destination()) is Decision.CONSENT_UNDECIDED
    assert decide(combo(), destination(requires=Requirement(all=("necessary",)))) is Decision.ALLOW


def test_denied_purpose_denies() -> None:
    assert decide(combo(NO), destination()) is Decision.CONSENT_DENIED


def test_event_type_that_is_not_wanted_is_denied() -> None:
    wants_pages = destination(events=("page",))

    assert decide(combo(YES), wants_pages) is Decision.EVENT_TYPE
    assert decide(combo(YES, type="page"), wants_pages) is Decision.ALLOW


@pytest.mark.parametrize("name", ["crm", "CRM", "Webhook", "webhook"])
def test_statement_11_integrations_take_away_by_id_or_type_whatever_the_consent(name: str) -> None:
    assert decide(combo(YES, integrations_off=(name,)), destination()) is Decision.INTEGRATIONS


def test_display_names_of_vendors_match_plain_ids() -> None:
    ga4 = destination(id="google-analytics_4", type="ga4")

    assert decide(combo(YES, integrations_off=("Google Analytics 4",)), ga4) is Decision.INTEGRATIONS


def test_statement_11_all_off_leaves_only_what_is_named_and_consent_is_still_needed() -> None:
    only_crm: dict[str, Any] = {"all_off": True, "integrations_on": ("CRM",)}

    assert decide(combo(YES, **only_crm), destination()) is Decision.ALLOW
    assert decide(combo(YES, **only_crm), destination(id="other", type="file")) is Decision.INTEGRATIONS
    assert decide(combo(NO, **only_crm), destination()) is Decision.CONSENT_DENIED
    assert decide(combo(**only_crm), destination()) is Decision.CONSENT_UNDECIDED


def test_name_that_is_both_on_and_off_is_off() -> None:
    assert (
        decide(combo(YES, integrations_off=("webhook",), integrations_on=("crm",)), destination())
        is Decision.INTEGRATIONS
    )


def test_table_answers_for_every_destination_and_remembers() -> None:
    table = RoutingTable([destination(), destination(id="ads", requires=Requirement(all=("marketing",)))])
    event = combo(YES)

    assert table.permitted(event) == ("crm",)
    assert table.decide(event, "ads") is Decision.CONSENT_UNDECIDED
    assert table.decisions(event) is table.decisions(combo(YES))


def test_table_stays_within_its_bound() -> None:
    table = RoutingTable([destination()], max_decisions=10)

    for number in range(100):
        table.decisions(combo({f"purpose{number}": True}))

    assert len(table._rows) <= 10


purposes = st.sampled_from(["necessary", "measurement", "marketing"])
stamps = st.dictionaries(purposes, st.booleans())
integrations = st.lists(st.sampled_from(["crm", "webhook", "other"]), max_size=2).map(tuple)
requirements = st.builds(
    Requirement, all=st.lists(purposes, max_size=3).map(tuple), any=st.lists(purposes, max_size=3).map(tuple)
)


def test_table_stays_within_its_bound_whatever_names_clients_send() -> None:
    table = RoutingTable([destination()])

    tracemalloc.start()
    for number in range(1_000):
        event = combo({f"{number} {place:0100}": False for place in range(100)})
        assert table.decide(event, "crm") is Decision.CONSENT_UNDECIDED
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert n_bytes < 16_000_000


@given(stamps, integrations, integrations, st.booleans(), requirements)
def test_nothing_but_full_consent_is_ever_allowed(
    said: dict[str, bool], off: tuple[str, ...], on: tuple[str, ...], all_off: bool, requirement: Requirement
) -> None:
    decision = decide(
        combo(said, integrations_off=off, integrations_on=on, all_off=all_off), destination(requires=requirement)
    )

    granted = {"necessary"} | {purpose for purpose, value in said.items() if value}
    enough = set(requirement.all) <= granted and (not requirement.any or bool(granted & set(requirement.any)))
    if decision is Decision.ALLOW:
        assert enough
        assert requirement.purposes
    if not (off or all_off) and enough and requirement.purposes:
        assert decision is Decision.ALLOW


@given(stamps, requirements, purposes)
def test_denying_a_purpose_never_releases(said: dict[str, bool], requirement: Requirement, purpose: str) -> None:
    before = decide(combo(said), destination(requires=requirement))

    after = decide(combo({**said, purpose: False}), destination(requires=requirement))

    assert after is not Decision.ALLOW or before is Decision.ALLOW


@pytest.mark.parametrize("type", ["webhook", "ga4", "meta"])
@pytest.mark.parametrize("said", [{}, YES, NO])
def test_statement_39_a_consent_event_goes_to_whoever_asked_and_to_nobody_else(
    type: str, said: dict[str, bool]
) -> None:
    notice = combo(said)._replace(type=CONSENT_TYPE)
    free = destination(type=type, requires=Requirement(all=("necessary",)))

    assert decide(notice, free) is Decision.EVENT_TYPE
    assert decide(notice, destination(type=type, receives_consent_events=True)) is Decision.ALLOW
    assert decide(notice, destination(type=type, receives_consent_events=True, events=("page",))) is Decision.ALLOW


def test_statement_11_integrations_keep_a_consent_event_from_whoever_asked() -> None:
    notice = combo(integrations_off=["crm"])._replace(type=CONSENT_TYPE)

    assert decide(notice, destination(receives_consent_events=True)) is Decision.INTEGRATIONS
