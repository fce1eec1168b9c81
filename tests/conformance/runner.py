"""Runs the public cases and scores the agreed core, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

from sluicegate.acceptance.times import read_ms
from sluicegate.destinations.base import Batch
from sluicegate.destinations.plan import Plans
from tests.conformance.cores import Core, Extract

ROOT = Path(__file__).parents[3] / "shared" / "conformance"
NO_CLOCK_MS = int(datetime.fromisoformat("2025-06-01T00:00:00Z").timestamp() * 1_000)
"""What the time is for events that have none, in cases that have none."""
REFUSED: Core = {"refused": True}
MakeDestination = Callable[[Mapping[str, Any]], Plans]


@dataclass(frozen=True)
class Deviation:
    """Fields in which we differ from an oracle on purpose."""

    kind: Literal["rule", "setting", "choice"]
    """By a rule of the vendor's, by a setting of the oracle's that has no counterpart here, or because we chose so."""
    fields: str
    """Names with blanks between, `*` for all."""
    why: str
    """With the vendor's page when it is a rule."""
    cases: str = "*"
    """Patterns of the names of cases, with blanks between."""
    when: Callable[[Any, Any], bool] = lambda expected, ours: True
    """Whether it speaks of what the oracle and we have there."""

    def explains(self, case: str, name: str, expected: Any, ours: Any) -> bool:
        """Whether this difference is one of those."""
        named = self.fields == "*" or name in self.fields.split()
        return named and any(fnmatchcase(case, one) for one in self.cases.split()) and self.when(expected, ours)


@dataclass(slots=True)
class Score:
    """Fields compared and equal, those that a deviation explains, and those that nothing does."""

    compared: int = 0
    equal: int = 0
    explained: dict[str, list[str]] = field(default_factory=dict)
    """Kind and reason of a deviation to the differences that it explains."""
    unexplained: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of all fields."""
        return self.equal / self.compared if self.compared else 1.0

    @property
    def share_by_rules(self) -> float:
        """Of the fields in which the oracle keeps to the vendor's rules."""
        by_rule = sum(len(differences) for why, differences in self.explained.items() if why.startswith("rule: "))
        compared = self.compared - by_rule
        return self.equal / compared if compared else 1.0

    def add(self, case: str, expected: Core, ours: Core, deviations: Iterable[Deviation]) -> None:
        """Compare every field that is expected."""
        for name, value in expected.items():
            self.compared += 1
            if same(ours.get(name), value):
                self.equal += 1
                continue
            have = ours.get(name, ours.get("reason"))
            difference = f"{case}: {name} {value!r} and not {have!r}"[:400]
            for one in deviations:
                if one.explains(case, name, value, have):
                    self.explained.setdefault(f"{one.kind}: {one.why}", []).append(difference)
                    break
            else:
                self.unexplained.append(difference)


def same(ours: Any, expected: Any) -> bool:
    """Whether two values say the same: numbers as texts, and lists of one, as what they hold."""
    if isinstance(expected, list) and len(expected) == 1 and not isinstance(ours, list):
        expected = expected[0]
    if isinstance(ours, list) and len(ours) == 1 and not isinstance(expected, list):
        ours = ours[0]
    return bool(ours == expected)


def cases(folder: str, file: str, *, stages: tuple[str, ...] = ("processor",)) -> list[dict[str, Any]]:
    """The cases of a file in these stages."""
    path = ROOT / folder / file
    return [case for case in json.loads(path.read_text()) if case["stage"] in stages] if path.exists() else []


def name_of(case: Mapping[str, Any]) -> str:
    """What a case is called in all files that have it."""
    name = str(case["name"])
    if "-rtm-" in case["id"]:
        return str(case["id"])
    return name.split(" of ")[-1] if "-rtm-" in name else name


def expected_cores(case: Mapping[str, Any], extract: Extract) -> Iterator[Core]:
    """All that the oracle sends, in its order."""
    expected = case["expected"]
    batches = expected.get("batches") or [expected]
    for request in (one for batch in batches for one in batch.get("requests") or []):
        yield from extract(request["url"], request.get("body"))


def our_cores(
    events: list[dict[str, Any]], clock: str | None, destination: Plans, extract: Extract
) -> tuple[list[Core], str]:
    """All that we send for these events at that time, and why events are refused."""
    ids = [str(event.get("messageId", event.get("message_id", f"m-{n}"))) for n, event in enumerate(events)]
    batch = Batch(range(1, len(events) + 1), ids, [msgspec.json.encode(event) for event in events])
    plan = destination.preview(batch, clock_ms(events, clock))
    found = [core for request in plan.requests for core in extract(request.url, decoded(request.body))]
    return found, "; ".join([*plan.rejected.values(), *plan.skipped.values()])


def decoded(body: bytes) -> Any:
    """The body of a request."""
    return msgspec.json.decode(body)


def clock_ms(events: list[dict[str, Any]], clock: str | None) -> int:
    """The time of a case; those without one are taken at the time of their events."""
    if clock is not None:
        return int(datetime.fromisoformat(clock).timestamp() * 1_000)
    times = [read_ms(event.get(name)) for event in events for name in ("timestamp", "originalTimestamp")]
    return max((one for one in times if one is not None), default=NO_CLOCK_MS)


def first(cores: Iterable[Core], reason: str = "") -> Core:
    """The first of them; of none that all is refused."""
    return next(iter(cores), {**REFUSED, "reason": reason} if reason else REFUSED)


def nearest(expected: Core, ours: list[Core]) -> Core:
    """Of what we send that which has most in common with what is expected."""
    return max(ours, key=lambda core: sum(same(core.get(k), v) for k, v in expected.items()), default=REFUSED)


def agreed(per_oracle: list[Core]) -> Core:
    """The fields that all oracles have alike; of a refusal only that."""
    one, *others = per_oracle
    return {key: value for key, value in one.items() if all(same(other.get(key), value) for other in others)}
