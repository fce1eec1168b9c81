"""The results as rows: medians over the runs, ratios to the straight line, and the targets they are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sluicegate.bench.conditions import Conditions
from sluicegate.bench.modes import Contender, Results
from sluicegate.bench.trial import Trial


@dataclass(frozen=True, slots=True)
class Row:
    """One system under one load: medians over its runs; `lost`, `duplicates` and `unexpected` are sums."""

    load: str
    system: str
    runs: int
    events_per_s: float
    cpu_us_per_event: float
    ratio: float | None
    """Events per second by the straight line's under the same load."""
    p50_ms: float | None
    p99_ms: float | None
    ack_p50_ms: float
    ack_p99_ms: float
    lost: int
    duplicates: int
    unexpected: int
    retried: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure against its target; `better` is what the target asks for."""

    name: str
    value: float
    target: float
    unit: str
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the figure reaches the target."""
        return self.value <= self.target if self.at_most else self.value >= self.target


def rows(results: Results) -> list[Row]:
    """A row for each load and system, in the order measured."""
    table: list[Row] = []
    for load, trials in results.trials.items():
        base = _events_per_s(_of(trials, Contender.STRAIGHT))
        for contender in Contender:
            if own := _of(trials, contender):
                table.append(_row(load, contender, own, base))
    return table


def findings(results: Results) -> list[Finding]:
    """What was measured of what has a target."""
    table = {(row.load, row.system): row for row in rows(results)}
    return [*_throughput(table), *_latency(table), *_slow(results), *_standing(results)]


def as_json(conditions: Conditions, results: Results) -> dict[str, Any]:
    """Everything, for programs: conditions, medians, targets, and each single run."""
    return {
        "conditions": asdict(conditions),
        "rows": [asdict(row) for row in rows(results)],
        "targets": [asdict(finding) | {"met": finding.met} for finding in findings(results)],
        "trials": {load: [_trial_json(trial) for trial in trials] for load, trials in results.trials.items()},
        "cold_starts_ms": results.cold_starts_ms,
        "idle": [asdict(run) for run in results.idle],
        "survivors": results.survivors,
        "faults": results.faults,
    }


def examples(results: Results) -> list[str]:
    """A few of the ids that were lost or should not have arrived, with where."""
    return [
        f"{load}, {trial.system}, receiver {index + 1}: {example}"
        for load, trials in results.trials.items()
        for trial in trials
        for index, report in enumerate(trial.receivers)
        for example in report.examples
    ]


def _throughput(table: dict[tuple[str, str], Row]) -> Iterator[Finding]:
    if row := table.get(("batches", Contender.SLUICEGATE)):
        if row.ratio is not None:
            yield Finding("batches, of the straight line", row.ratio, 0.6, "", at_most=False)
        yield Finding("batches, CPU of all processes", row.cpu_us_per_event, 15, "us/event", at_most=True)
    if (row := table.get(("singles", Contender.SLUICEGATE))) and row.ratio is not None:
        yield Finding("singly, of the straight line", row.ratio, 0.8, "", at_most=False)


def _latency(table: dict[tuple[str, str], Row]) -> Iterator[Finding]:
    for load in ("latency singly", "latency in batches"):
        row = table.get((load, Contender.SLUICEGATE))
        if row and row.p50_ms is not None and row.p99_ms is not None:
            yield Finding(f"{load}, p50 to the receiver", row.p50_ms, 6, "ms", at_most=True)
            yield Finding(f"{load}, p99 to the receiver", row.p99_ms, 40, "ms", at_most=True)


def _slow(results: Results) -> Iterator[Finding]:
    slow = results.trials.get("first receiver slow", [])
    fast = results.trials.get("all receivers fast", [])
    if slow and fast:
        rate = median(trial.receiver_events_per_s(0) for trial in slow)
        yield Finding("receiver that answers after 50 ms", rate, 10_000, "events/s", at_most=False)
        others = _others(slow) / _others(fast)
        yield Finding("the other receivers meanwhile, of undisturbed", others, 0.9, "", at_most=False)


def _standing(results: Results) -> Iterator[Finding]:
    if results.cold_starts_ms:
        yield Finding("cold start to first delivery", median(results.cold_starts_ms), 60, "ms", at_most=True)
    if results.idle:
        n = results.idle[0].destinations
        megabytes = median(run.pss_bytes for run in results.idle) / 1e6
        yield Finding(f"idle with {n:,} registered, PSS", megabytes, 110, "MB", at_most=True)
        share = median(run.cpu_share for run in results.idle) * 100
        yield Finding(f"idle with {n:,} registered, CPU", share, 0.5, "% of a core", at_most=True)


def _others(trials: Sequence[Trial]) -> float:
    """Events per second of the second receiver, which gets all events as the slow one does."""
    return median(trial.receiver_events_per_s(1) for trial in trials)


def _of(trials: Sequence[Trial], contender: Contender) -> list[Trial]:
    return [trial for trial in trials if trial.system == contender]


def _events_per_s(trials: Sequence[Trial]) -> float | None:
    return median(trial.events_per_s for trial in trials) if trials else None


def _row(load: str, contender: Contender, trials: Sequence[Trial], base: float | None) -> Row:
    def middle(value: Callable[[Trial], float]) -> float:
        return median(map(value, trials))

    timed = all(trial.latencies_ms for trial in trials)
    rate = middle(lambda trial: trial.events_per_s)
    return Row(
        load=load,
        system=contender.value,
        runs=len(trials),
        events_per_s=rate,
        cpu_us_per_event=middle(lambda trial: trial.cpu_us_per_event),
        ratio=rate / base if base else None,
        p50_ms=middle(lambda trial: trial.latencies_ms["p50"]) if timed else None,
        p99_ms=middle(lambda trial: trial.latencies_ms["p99"]) if timed else None,
        ack_p50_ms=middle(lambda trial: trial.load.ack_ms["p50"]),
        ack_p99_ms=middle(lambda trial: trial.load.ack_ms["p99"]),
        lost=sum(trial.lost for trial in trials),
        duplicates=sum(trial.duplicates for trial in trials),
        unexpected=sum(trial.unexpected for trial in trials),
        retried=sum(trial.load.retried for trial in trials),
    )


def _trial_json(trial: Trial) -> dict[str, Any]:
    derived = {"events_per_s": trial.events_per_s, "cpu_us_per_event": trial.cpu_us_per_event}
    return asdict(trial) | derived
