from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluicegate.destinations.amplitude import Amplitude
from sluicegate.destinations.ga4 import Ga4
from sluicegate.destinations.meta import Meta
from sluicegate.destinations.mixpanel import Mixpanel
from sluicegate.destinations.posthog import Posthog
from sluicegate.destinations.segment import Segment
from sluicegate.destinations.vendor import VendorDestination
from sluicegate.testing.destination_contract import make_destination
from tests.conformance import cores
from tests.conformance.runner import REFUSED, ROOT, Score, cases, expected_core, our_core

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="the conformance cases (../shared/conformance) are not here")

RUDDER, SEGMENT = "rudder-spec-mit.json", "segment-spec.json"


@dataclass(frozen=True)
class Vendor:
    folder: str
    kind: type[VendorDestination]
    settings: Mapping[str, Any]
    extract: cores.Extract
    oracles: tuple[str, ...] = (RUDDER, SEGMENT)
    least: float = 0.95
    """Of the fields on which the oracles agree."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields in which an oracle breaks a rule of the vendor, and the rule."""
    events: Mapping[str, str] = field(default_factory=dict)
    """Cases that the vendor would not take as the oracle has them, and why."""


VENDORS = {
    "segment": Vendor(
        "segment",
        Segment,
        {"write_key": "WRITEKEY"},
        cores.segment,
        (RUDDER,),
        fields={
            "user": "userId is the user's; the oracle puts the anonymousId there when there is none",
            "traits": "traits of a track call are in context.traits, which is forwarded; the oracle copies them",
        },
    ),
    "ga4": Vendor(
        "ga4",
        Ga4,
        {"measurement_id": "G-TEST1234", "api_secret": "API_SECRET"},
        cores.ga4,
        events={"long_name": "names of events have at most 40 characters; GA4 drops longer ones"},
    ),
    "posthog": Vendor("posthog", Posthog, {"api_key": "phc_TOKEN"}, cores.posthog),
    "amplitude": Vendor("amplitude", Amplitude, {"api_key": "API_KEY"}, cores.amplitude),
    "mixpanel": Vendor(
        "mixpanel",
        Mixpanel,
        {"token": "TOKEN", "api_secret": "API_SECRET"},
        cores.mixpanel,
        fields={"insert_id": "$insert_id has letters, digits and - only; ids with _ become a UUID"},
    ),
    "meta": Vendor(
        "facebook_conversions",
        Meta,
        {"pixel_id": "1234567890", "access_token": "ACCESS_TOKEN"},
        cores.meta,
        (SEGMENT,),
        fields={"db": "birthdays are hashed as YYYYMMDD (customer-information-parameters)"},
        events={"future_event": "event_time may be at most a minute ahead; a later one fails the whole request"},
    ),
}


def agreed(per_oracle: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields that all oracles have alike; of a refusal only that."""
    first, *others = per_oracle
    return {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}


@pytest.mark.parametrize("name", VENDORS)
def test_agreed_core_is_what_vendors_should_receive(
    name: str, tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor = VENDORS[name]
    destination = make_destination(vendor.kind, tmp_path, **vendor.settings)
    assert isinstance(destination, VendorDestination)
    by_name: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {}
    for oracle in vendor.oracles:
        for case in cases(vendor.folder, oracle):
            both = expected_core(case, vendor.extract), our_core(case, destination, vendor.extract)
            by_name.setdefault(case["name"], []).append((oracle, *both))
    scores = {oracle: Score() for oracle in ("agreed", *vendor.oracles)}
    for case_name, rows in by_name.items():
        if case_name in vendor.events:
            continue
        for oracle, expected, ours in rows:
            if expected != REFUSED:
                scores[oracle].add(case_name, expected, ours, {})
        scores["agreed"].add(case_name, agreed([row[1] for row in rows]), rows[0][2], vendor.fields)
    with capsys.disabled():
        for oracle, score in scores.items():
            print(f"\n{name} {oracle}: {score.equal} of {score.compared} fields, {score.share:.1%}", end="")
            for key, count in score.differences.most_common(8 if oracle == "agreed" else 5):
                print(f"\n    {count:3} {key}: {score.examples[key]}", end="")
    record_property(f"conformance_{name}", scores["agreed"].share)
    assert scores["agreed"].share >= vendor.least
