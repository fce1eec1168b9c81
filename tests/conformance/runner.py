"""Runs the public cases and scores the agreed core, field by field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.destinations.base import Batch
from sluicegate.destinations.vendor import VendorDestination
from tests.conformance.cores import Core, Extract

ROOT = Path(__file__).parents[3] / "shared" / "conformance"
REFUSED = {"refused": True}


@dataclass(slots=True)
class Score:
    """Fields compared and equal; `differences` counts fields that are not, with a few examples each."""

    compared: int = 0
    equal: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.equal / self.compared if self.compared else 1.0

    def add(self, name: str, expected: Core, ours: Core, allowed: Mapping[str, str]) -> None:
        """Compare every field that is expected; those that a vendor rule decides otherwise are left out."""
        for key, value in expected.items():
            if key in allowed:
                continue
            self.compared += 1
            if ours.get(key) == value:
                self.equal += 1
            else:
                self.differences[key] += 1
                self.examples.setdefault(key, f"{name}: {value!r} and not {ours.get(key)!r}"[:300])


def cases(folder: str, file: str) -> list[dict[str, Any]]:
    """The cases with one event each."""
    found = json.loads((ROOT / folder / file).read_text())
    return [case for case in found if case["stage"] == "processor" and isinstance(case.get("event"), dict)]


def expected_core(case: dict[str, Any], extract: Extract) -> Core:
    """What the oracle sends first, or that it refuses."""
    expected = case["expected"]
    for request in expected.get("requests") or []:
        for core in extract(request["url"], request.get("body")):
            return core
    return dict(REFUSED)


def our_core(case: dict[str, Any], destination: VendorDestination, extract: Extract) -> Core:
    """What we send first for the same event at the same time."""
    event = case["event"]
    now_ms = int(datetime.fromisoformat(case["clock"]).timestamp() * 1_000)
    message_id = str(event.get("messageId", "m"))
    plan = destination.preview(Batch([1], [message_id], [msgspec.json.encode(event)]), now_ms)
    for request in plan.requests:
        for core in extract(request.url, msgspec.json.decode(request.body)):
            return core
    return dict(REFUSED)
