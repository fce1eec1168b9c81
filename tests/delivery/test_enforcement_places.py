from __future__ import annotations

from dataclasses import replace

import pytest

from sluicegate.config.model import ConsentConfig, ConsentModel, HonorGpc, OnUndecided, Requirement
from sluicegate.consent.evidence import Evidence, Told, signal
from sluicegate.consent.subject import Subject
from sluicegate.delivery.report import ReportKind
from sluicegate.errors import NotReady
from sluicegate.event import CONSENT_TYPE, Combo
from tests.delivery.consenting import EVENT_MS, record, told
from tests.delivery.test_enforcement import SILENT, outcome
from tests.delivery.world import NO, YES, World
from tests.doubles.vendor import Vendor

PLACES = ConsentConfig(
    jurisdiction_header="cf-ipcountry", jurisdictions={"US": ConsentModel.OPT_OUT, "DE": ConsentModel.OPT_IN}
)
NOTICE = Combo(CONSENT_TYPE, "web", (("measurement", False),))
UNASKED = SILENT._replace(unasked=True)


def delivered(world: World) -> list[str]:
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()
    return list(vendor.events)


def test_statement_2_silence_means_what_the_place_of_the_event_says(world: World) -> None:
    world.consent = replace(PLACES, on_undecided=OnUndecided.DROP)
    for place in ("US", "DE", "?", ""):
        world.append(place or "unknown", combo=SILENT._replace(place=place))

    assert delivered(world) == ["US"]
    assert outcome(world) == (1, {"consent_undecided": 3}, 4)


@pytest.mark.parametrize(
    ("honor", "expected"), [(HonorGpc.OPT_OUT, ["DE"]), (HonorGpc.ALWAYS, []), (HonorGpc.NEVER, ["US", "DE"])]
)
def test_statement_43_gpc_in_the_ledger_counts_where_the_place_honours_it(
    world: World, honor: HonorGpc, expected: list[str]
) -> None:
    world.consent = replace(PLACES, honor_gpc=honor)
    gpc = signal(("measurement",), at_ms=EVENT_MS)
    record(world.data_dir, [Told(Subject(anonymous_id="anne"), gpc, Evidence.GPC)])
    for place in ("US", "DE"):
        world.append(place, combo=YES._replace(place=place), subject="anne")

    assert delivered(world) == expected


def test_a_place_that_is_not_listed_any_more_is_opt_in(world: World) -> None:
    world.consent = ConsentConfig(model=ConsentModel.OPT_OUT)
    world.append("a", combo=SILENT._replace(place="US"))

    assert delivered(world) == []


def test_statement_2_what_says_nothing_goes_and_is_counted_where_the_configuration_lets_it(world: World) -> None:
    world.consent = ConsentConfig(allow_unasked=True, ttl_s=0)
    record(world.data_dir, [told(False, visitor="ben"), told(True, visitor="cleo", at_ms=EVENT_MS)])
    for name in ("anne", "ben", "cleo"):
        world.append(name, combo=UNASKED)
    world.append("undecided", combo=SILENT)
    world.append("yes", combo=YES)

    assert delivered(world) == ["anne", "cleo", "yes"]
    assert world.worker is not None
    assert world.worker.snapshot().delivered_unenforced == 1


def test_statement_2_what_says_nothing_does_not_go_once_the_configuration_is_changed_back(world: World) -> None:
    world.append("a", combo=UNASKED)

    assert delivered(world) == []


def test_statement_39_a_consent_event_goes_only_to_whoever_asked_and_then_whatever_consent_says(world: World) -> None:
    record(world.data_dir, [told(False, visitor="anne")])
    world.append("notice", combo=NOTICE, subject="anne")
    world.append("refused", combo=NO, subject="anne")

    assert delivered(world) == []
    assert outcome(world) == (0, {"event_type": 1, "consent_denied": 1}, 2)
    world.stop()
    world.config = replace(world.config, receives_consent_events=True, events=("track",))
    world.append("another", combo=NOTICE, subject="anne")
    assert delivered(world) == ["another"]


def test_statement_28_a_stricter_requirement_after_a_restart_judges_what_waits(world: World) -> None:
    world.consent = ConsentConfig(on_undecided=OnUndecided.DROP)
    world.append("a", combo=Combo("track", "web", (("measurement", True), ("tcf:7", False))))
    world.append("b", combo=Combo("track", "web", (("measurement", True), ("tcf:7", True))))
    world.append("c", combo=YES)
    world.config = replace(world.config, requires=Requirement(("measurement", "tcf:7")))

    assert delivered(world) == ["b"]
    assert outcome(world) == (1, {"consent_denied": 1, "consent_undecided": 1}, 3)


def test_statement_38_what_waited_for_a_destination_to_load_is_judged_after_the_load(world: World) -> None:
    def fail() -> None:
        raise NotReady("the vendor cannot be reached")

    world.append("anne")
    world.append("ben")
    broken = Vendor()
    broken.on_initialize = fail
    worker = world.start(broken)
    assert world.next_report().kind is ReportKind.FAILED
    assert worker.join(10)

    record(world.data_dir, [told(False, visitor="anne")])

    assert (broken.calls, world.state().cursor) == ([], 0)
    assert delivered(world) == ["ben"]
    assert outcome(world) == (1, {"withdrawn": 1}, 2)
