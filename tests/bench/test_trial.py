from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw
import pytest

from sluicegate.bench import trial as trial_module
from sluicegate.bench.errors import BenchError
from sluicegate.bench.events import Workload
from sluicegate.bench.systems import Straight
from sluicegate.bench.tally import Tally
from sluicegate.bench.trial import Shape, Trial, _wait_for_arrivals, run_trial


class Elsewhere:
    """Takes the place of a system whose gateway is at a given port."""

    name = "elsewhere"

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def stop(self) -> int:
        return 0

    def explain(self) -> str:
        return ""


def _faults(trial: Trial) -> tuple[int, int, int]:
    return trial.lost, trial.duplicates, trial.unexpected


@pytest.mark.parametrize("per_request", [100, 1])
def test_straight_line_delivers_what_the_generator_sent(straight: Straight, receivers: Any, per_request: int) -> None:
    trial = run_trial(straight, receivers.helpers, run="t1", shape=Shape(count=450, per_request=per_request))

    assert _faults(trial) == (0, 0, 0)
    assert [report.arrived for report in trial.receivers] == [450, 450, 225]
    assert (trial.load.accepted, trial.load.requests) == (450, -(-450 // per_request))
    assert trial.events_per_s > 0


def test_open_loop_measures_latency(straight: Straight, receivers: Any) -> None:
    trial = run_trial(straight, receivers.helpers, run="t2", shape=Shape(count=300, per_request=1, rate=2_000.0))

    assert _faults(trial) == (0, 0, 0)
    assert 0 < trial.latencies_ms["p50"] <= trial.latencies_ms["p99"] <= trial.latencies_ms["max"]
    assert trial.load.ack_ms["p50"] > 0


def test_straight_line_has_stored_what_it_answered(straight: Straight, receivers: Any, tmp_path: Path) -> None:
    run_trial(straight, receivers.helpers, run="t3", shape=Shape(count=300, per_request=100))

    log = apsw.Connection(str(tmp_path / "straight.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ids = [line for (text,) in log.execute("SELECT ids FROM log") for line in text.split("\n")]
    log.close()
    assert sorted(ids) == [f"t3-{number:08d}" for number in range(300)]


def test_trial_through_a_receiver_as_gateway_fails_for_its_answer(straight: Straight, receivers: Any) -> None:
    system = Elsewhere(straight.pid, receivers.ports[0])

    with pytest.raises(BenchError, match="did not accept every event"):
        run_trial(system, receivers.helpers, run="t4", shape=Shape(count=10, per_request=10))


def test_events_at_the_wrong_receiver_are_lost_and_unexpected(
    straight: Straight, receivers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "STALL_S", 0.3)
    swapped = receivers.helpers[::-1]

    trial = run_trial(straight, swapped, run="t5", shape=Shape(count=200, per_request=100))

    assert _faults(trial) == (100, 0, 100)


class Filling:
    """Takes the place of a receiver to which more comes between two looks; it fails if it has to count too early."""

    def __init__(self, n_bytes: list[int]) -> None:
        self.n_bytes = n_bytes
        self.n_counts = 0

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert message == {"do": "poll"}
        return {"n_bytes": self.n_bytes.pop(0) if len(self.n_bytes) > 1 else self.n_bytes[0]}

    def tell(self, message: dict[str, Any]) -> None:
        assert len(self.n_bytes) == 1, "something still comes"
        self.n_counts += 1

    def answer(self, *, timeout_s: float) -> dict[str, Any]:
        return asdict(Tally("t1", 0, lambda number: True).report())


def test_nothing_is_counted_while_something_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "POLL_S", 0.0)
    receivers: Any = [Filling([10**9, 10**9 + 1, 10**9 + 2]), Filling([10**9]), Filling([10**9])]

    reports = _wait_for_arrivals(receivers, Workload("t1"), Shape(count=100, per_request=100))

    assert len(reports) == 3
    assert [one.n_counts for one in receivers] == [1, 1, 1]
