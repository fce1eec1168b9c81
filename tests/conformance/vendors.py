"""The destinations that are scored: how an oracle's configuration is ours, and where we are right to differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluicegate.destinations.amplitude import Amplitude
from sluicegate.destinations.base import Destination
from sluicegate.destinations.ga4 import Ga4
from sluicegate.destinations.meta import Meta
from sluicegate.destinations.mixpanel import Mixpanel
from sluicegate.destinations.plan import Plans
from sluicegate.destinations.posthog import Posthog
from sluicegate.destinations.segment import Segment
from sluicegate.destinations.webhook import Webhook
from sluicegate.testing.destination_contract import make_destination
from tests.conformance import cores
from tests.conformance.deviations import DEVIATIONS
from tests.conformance.runner import (
    Deviation,
    Score,
    agreed,
    cases,
    expected_cores,
    first,
    name_of,
    nearest,
    our_cores,
)

SUITES = {
    "spec": {"rudder": "rudder-spec-mit.json", "segment": "segment-spec.json"},
    "fixtures": {"rudder": "rudder-mit.json", "segment": "segment-on-rudder-mit.json"},
}
"""The oracles' files: of 34 own events, and of the events in RudderStack's fixtures."""
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Vendor:
    """A destination with its cases."""

    kind: type[Destination]
    settings: Settings
    extract: cores.Extract
    folders: Mapping[str, str]
    """Oracle to the folder of its cases."""
    configured: Callable[[Settings], Settings] = lambda config: {}
    """Settings of ours that say what an oracle's configuration says."""
    deviations: Sequence[Deviation] = field(default_factory=tuple)

    def make(self, config: Settings, data_dir: Path) -> Plans:
        """An instance for a case."""
        made = make_destination(self.kind, data_dir, **{**self.settings, **self.configured(config)})
        assert isinstance(made, Plans)
        return made


def both(folder: str) -> dict[str, str]:
    return {"rudder": folder, "segment": folder}


def vendor(name: str, kind: type[Destination], settings: Settings, extract: cores.Extract, **more: Any) -> Vendor:
    """A vendor with its deviations."""
    folders = more.pop("folders", None) or both(name)
    return Vendor(kind, settings, extract, folders, deviations=DEVIATIONS.get(name, ()), **more)


def ga4_settings(config: Settings) -> Settings:
    """The stream, and of which kind it is."""
    if config.get("firebaseAppId"):
        return {"firebase_app_id": config["firebaseAppId"], "measurement_id": ""}
    return {"measurement_id": config.get("measurementId") or "G-TEST1234"}


def mixpanel_settings(config: Settings) -> Settings:
    """The first key of groups."""
    keys = [one.get("groupKey") for one in config.get("groupKeySettings") or []]
    return {"group_key": keys[0]} if keys and keys[0] else {}


def meta_settings(config: Settings) -> Settings:
    """Names of events, and limited data use."""
    names = {one["from"]: one["to"] for one in config.get("eventsToEvents") or [] if one.get("from")}
    always = config.get("limitedDataUsage") or config.get("limitedDataUSage")
    return {"event_names": names, "limited_data_use": "always" if always else "never"}


VENDORS = {
    "segment": vendor("segment", Segment, {"write_key": "K"}, cores.segment, folders={"rudder": "segment"}),
    "webhook": vendor("webhook", Webhook, {"url": "https://hooks.example.com/in"}, cores.webhook),
    "ga4": vendor("ga4", Ga4, {"api_secret": "API_SECRET"}, cores.ga4, configured=ga4_settings),
    "posthog": vendor("posthog", Posthog, {"api_key": "phc_TOKEN"}, cores.posthog),
    "amplitude": vendor("amplitude", Amplitude, {"api_key": "KEY", "group_type": "company"}, cores.amplitude),
    "mixpanel": vendor(
        "mixpanel",
        Mixpanel,
        {"token": "TOKEN", "api_secret": "API_SECRET", "group_key": "company_id"},
        cores.mixpanel,
        configured=mixpanel_settings,
    ),
    "meta": vendor(
        "meta",
        Meta,
        {"pixel_id": "1234567890", "access_token": "ACCESS_TOKEN"},
        cores.meta,
        folders={"rudder": "facebook_pixel", "segment": "facebook_conversions"},
        configured=meta_settings,
    ),
}


def scores(vendor: Vendor, data_dir: Path) -> dict[tuple[str, str], Score]:
    """Of every suite: by oracle, of what the oracles agree on, and of the oracle's batches."""
    found: dict[tuple[str, str], Score] = {}
    for suite, files in SUITES.items():
        by_name: dict[str, list[tuple[cores.Core, cores.Core]]] = {}
        for oracle, folder in vendor.folders.items():
            rows = list(compared(vendor, folder, files[oracle], data_dir))
            for name, expected, ours in rows:
                found.setdefault((suite, oracle), Score()).add(name, expected, ours, vendor.deviations)
                by_name.setdefault(name, []).append((expected, ours))
            batches = list(compared_batches(vendor, folder, files[oracle], data_dir))
            for name, expected, ours in batches:
                found.setdefault((suite, f"{oracle}, batches"), Score()).add(name, expected, ours, vendor.deviations)
        for name, pairs in by_name.items():
            if len(pairs) == len(vendor.folders):
                core = agreed([expected for expected, _ in pairs])
                found.setdefault((suite, "agreed"), Score()).add(name, core, pairs[0][1], vendor.deviations)
    return found


def compared(vendor: Vendor, folder: str, file: str, data_dir: Path) -> Iterator[tuple[str, cores.Core, cores.Core]]:
    """Of every case with one event what is first sent, by the oracle and by us."""
    for case in cases(folder, file):
        destination = vendor.make(case.get("config") or {}, data_dir)
        ours = first(*our_cores([case["event"]], case["clock"], destination, vendor.extract))
        yield name_of(case), first(expected_cores(case, vendor.extract)), ours


def compared_batches(
    vendor: Vendor, folder: str, file: str, data_dir: Path
) -> Iterator[tuple[str, cores.Core, cores.Core]]:
    """Of every case with several events each record that the oracle sends, and the nearest of ours."""
    for case in cases(folder, file, stages=("router", "batch")):
        events = [one["event"] for one in case["inputs"]]
        if any("body" in event for event in events):
            continue  # The input is what the oracle's own mapper made.
        destination = vendor.make(case["inputs"][0].get("config") or {}, data_dir)
        ours, _ = our_cores(events, case["clock"], destination, vendor.extract)
        for expected in expected_cores(case, vendor.extract):
            yield name_of(case), expected, nearest(expected, ours)
