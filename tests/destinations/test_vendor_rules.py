from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.destinations.amplitude import Amplitude
from sluicegate.destinations.base import Destination
from sluicegate.destinations.ga4 import Ga4
from sluicegate.destinations.meta import Meta
from sluicegate.destinations.mixpanel import Mixpanel
from sluicegate.destinations.plan import TOO_OLD, Plan, Plans
from sluicegate.destinations.posthog import Posthog
from sluicegate.destinations.segment import Segment
from sluicegate.errors import ConfigError
from sluicegate.testing.destination_contract import make_batch, make_destination

NOW_MS = 1_768_386_031_500
GOOD: Mapping[str, Any] = {
    "type": "track",
    "event": "Tested",
    "userId": "user-1",
    "anonymousId": "visitor-1",
    "timestamp": "2026-01-14T10:20:30.456Z",
    "context": {"userAgent": "Mozilla/5.0", "page": {"url": "https://shop.example/p"}},
    "properties": {"a": 1},
}
NOBODY = {"userId": None, "anonymousId": None}
OLD, AHEAD = {"timestamp": "1970-06-01T00:00:00Z"}, {"timestamp": "2026-01-14T11:30:00Z"}
HUGE = {"properties": {f"p{number}": "x" * 99_000 for number in range(24)}}
NAMELESS = {"event": " "}
MANY = {"properties": {f"p{number}": 1 for number in range(300)}}
PURCHASE = {"event": "Order Completed", "properties": {"total": 5}}

SETTINGS: Mapping[type[Destination], Mapping[str, Any]] = {
    Segment: {"write_key": "k"},
    Ga4: {"measurement_id": "G-1", "api_secret": "s"},
    Posthog: {"api_key": "k"},
    Amplitude: {"api_key": "k"},
    Mixpanel: {"token": "t", "api_secret": "s"},
    Meta: {"pixel_id": "1", "access_token": "t"},
}
RULES = [
    (Segment, "too big", HUGE, "larger than the 32768 bytes"),
    (Ga4, "ahead", AHEAD, "more than 15 minutes ahead"),
    (Ga4, "nobody", NOBODY, "no client_id"),
    (Ga4, "reserved", {"event": "user_engagement"}, "is reserved"),
    (Ga4, "reserved prefix", {"event": "ga_x"}, "is reserved"),
    (Ga4, "long name", {"event": "x" * 41}, "more than 40 characters"),
    (Ga4, "wrong name", {"event": "2nd-step"}, "begins with a letter"),
    (Ga4, "nameless", NAMELESS, "no name"),
    (Ga4, "no currency", PURCHASE, "no currency"),
    (Posthog, "nobody", NOBODY, "no distinct_id"),
    (Posthog, "too big", HUGE, "larger than the 900000 bytes"),
    (Posthog, "long id", {"userId": "x" * 201}, "more than 200 characters"),
    (Posthog, "nameless", NAMELESS, "no name"),
    (Amplitude, "nobody", NOBODY, "neither user_id nor device_id"),
    (Amplitude, "too big", HUGE, "larger than the"),
    (Amplitude, "nameless", NAMELESS, "no name"),
    (Mixpanel, "too old", OLD, "before 1971"),
    (Mixpanel, "ahead", AHEAD, "more than an hour ahead"),
    (Mixpanel, "nobody", NOBODY, "no distinct_id"),
    (Mixpanel, "too big", HUGE, "larger than the 1048576 bytes"),
    (Mixpanel, "many properties", MANY, "more than 255 properties"),
    (Mixpanel, "nameless", NAMELESS, "no name"),
    (Meta, "ahead", AHEAD, "more than a minute ahead"),
    (Meta, "nobody", {**NOBODY, "context": {}}, "nothing to match a person by"),
    (Meta, "no browser", {"context": {"page": {"url": "https://shop.example/p"}}}, "context.userAgent"),
    (Meta, "no currency", PURCHASE, "Purchase needs currency"),
    (Meta, "nameless", NAMELESS, "no name"),
    (Meta, "too big", {"event": "x" * 1_100_000}, "larger than the"),
]


@pytest.mark.parametrize(
    ("kind", "change", "rule"), [pytest.param(k, c, r, id=f"{k.__name__}-{n}") for k, n, c, r in RULES]
)
def test_event_that_breaks_a_rule_is_rejected_by_itself_with_the_rule(
    kind: type[Destination], change: Mapping[str, Any], rule: str, tmp_path: Path
) -> None:
    found = planned(kind, tmp_path, dict(GOOD), {**GOOD, **change}, dict(GOOD))

    assert list(found.rejected) == [1]
    assert rule in found.rejected[1]
    assert {index for request in found.requests for index in request.indices} == {0, 2}


@pytest.mark.parametrize(
    ("kind", "settings", "old", "young"),
    [
        pytest.param(Ga4, {}, "2026-01-11T10:20:31.499Z", "2026-01-11T10:20:31.501Z", id="Ga4"),
        pytest.param(Meta, {}, "2026-01-07T10:20:31.499Z", "2026-01-07T10:20:31.501Z", id="Meta"),
        pytest.param(
            Meta, {"action_source": "physical_store"}, "2025-11-13T10:20:31Z", "2025-11-13T10:20:32Z", id="Meta-store"
        ),
    ],
)
def test_statement_47_event_that_is_too_old_is_left_out_alone(
    kind: type[Destination], settings: Mapping[str, Any], old: str, young: str, tmp_path: Path
) -> None:
    events = [GOOD, {**GOOD, "timestamp": old}, {**GOOD, "timestamp": young}]

    found = planned(kind, tmp_path, *events, **settings)

    assert found.skipped == {1: TOO_OLD}
    assert found.rejected == {}
    assert {index for request in found.requests for index in request.indices} == {0, 2}


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_same_event_goes_out_the_same_whenever_it_is_sent_again(kind: type[Destination], tmp_path: Path) -> None:
    first, again = (planned(kind, tmp_path, dict(GOOD)).requests for _ in range(2))

    assert [request.body for request in first] == [request.body for request in again]


def planned(kind: type[Destination], tmp_path: Path, *events: Mapping[str, Any], **settings: Any) -> Plan:
    destination = make_destination(kind, tmp_path, **SETTINGS[kind], **settings)
    assert isinstance(destination, Plans)
    raws = [msgspec.json.encode(event) for event in events]
    return destination.preview(make_batch([f"m-{n}" for n in range(len(raws))], raws=raws), NOW_MS)


@pytest.mark.parametrize("spoilt", ["{}\n", " {}", "{}\u20ac", ""])
@pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind, settings in SETTINGS.items() for key in settings if key != "pixel_id"],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_key_that_was_copied_with_something_else_is_a_mistake(
    tmp_path: Path, kind: type[Destination], key: str, spoilt: str
) -> None:
    settings = {**SETTINGS[kind], key: spoilt.format(SETTINGS[kind][key])}

    with pytest.raises(ConfigError, match=key):
        make_destination(kind, tmp_path, **settings)
