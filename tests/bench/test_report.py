from __future__ import annotations

import json
from pathlib import Path

from sluicegate.bench.conditions import conditions
from sluicegate.bench.generator import LoadReport
from sluicegate.bench.modes import IdleRun, Results
from sluicegate.bench.report import as_json, examples, findings, rows
from sluicegate.bench.tally import ReceiverReport
from sluicegate.bench.trial import Shape, Trial

SECOND = 1_000_000_000


def _trial(
    system: str, *, seconds: float, cpu_s: float = 1.0, p50: float | None = None, lost: int = 0, slow: float = 0.0
) -> Trial:
    latencies = {} if p50 is None else {"p50": p50, "p99": 2 * p50, "max": 3 * p50}
    load = LoadReport(10, 1_000, 0, SECOND, 2 * SECOND, {"p50": 1.0, "p99": 2.0, "max": 3.0})
    reports = tuple(
        ReceiverReport(
            1_000, 1_000 - lost, lost, 0, 0, 10, 1, SECOND, SECOND + round(end * SECOND), ["lost x"] * lost, latencies
        )
        for end in (max(seconds, slow), seconds, seconds)
    )
    return Trial(system, "r", Shape(1_000, 100), cpu_s, load, reports)


def test_row_is_the_median_of_the_runs_beside_the_straight_line() -> None:
    straight = [_trial("straight", seconds=1.0) for _ in range(3)]
    system = [_trial("sluicegate", seconds=s, cpu_s=s) for s in (1.0, 2.0, 4.0)]

    first, second = rows(Results({"batches": straight + system}))

    assert (first.system, first.events_per_s, first.ratio) == ("straight", 1_000.0, 1.0)
    assert (second.events_per_s, second.ratio, second.cpu_us_per_event) == (500.0, 0.5, 2_000.0)


def test_ratio_needs_the_straight_line() -> None:
    (row,) = rows(Results({"batches": [_trial("sluicegate", seconds=1.0)]}))

    assert row.ratio is None


def test_targets_are_judged() -> None:
    results = Results(
        {
            "batches": [_trial("straight", seconds=1.0), _trial("sluicegate", seconds=2.0, cpu_s=0.010)],
            "singles": [_trial("straight", seconds=1.0), _trial("sluicegate", seconds=1.1)],
            "latency singly": [_trial("sluicegate", seconds=1.0, p50=5.0)],
        },
        cold_starts_ms=[70.0, 50.0, 40.0],
        idle=[IdleRun(1_000, 90_000_000, 5, 0.02)],
    )

    judged = {finding.name: finding.met for finding in findings(results)}

    assert judged == {
        "batches, of the straight line": False,
        "batches, CPU of all processes": True,
        "singly, of the straight line": True,
        "latency singly, p50 to the receiver": True,
        "latency singly, p99 to the receiver": True,
        "cold start to first delivery": True,
        "idle with 1,000 registered, PSS": True,
        "idle with 1,000 registered, CPU": False,
    }


def test_slow_receiver_is_judged_by_its_own_rate_and_by_the_others() -> None:
    results = Results(
        {
            "all receivers fast": [_trial("sluicegate", seconds=0.05)],
            "first receiver slow": [_trial("sluicegate", seconds=0.05, slow=0.5)],
        }
    )

    slow, others = findings(results)

    assert (slow.value, slow.met) == (2_000.0, False)
    assert (others.value, others.met) == (1.0, True)


def test_lost_events_are_faults_with_examples() -> None:
    results = Results({"batches": [_trial("sluicegate", seconds=1.0, lost=1)]})

    assert results.faults == 3
    assert examples(results)[0] == "batches, sluicegate, receiver 1: lost x"


def test_report_for_programs_is_json(tmp_path: Path) -> None:
    results = Results({"batches": [_trial("straight", seconds=1.0), _trial("sluicegate", seconds=1.0)]})
    under = conditions(tmp_path, connections=8, runs=1, events=1_000)

    report = json.loads(json.dumps(as_json(under, results)))

    assert report["rows"][1]["ratio"] == 1.0
    assert report["trials"]["batches"][0]["events_per_s"] == 1_000.0
    assert 500 < report["conditions"]["event_bytes"] < 540
