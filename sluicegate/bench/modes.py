"""What `sluicegate bench` can measure, one function per mode; each returns plain data for the report."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sluicegate.bench.cold import Probe
from sluicegate.bench.errors import BenchError
from sluicegate.bench.measure import tree, tree_cpu_s, tree_pss_bytes
from sluicegate.bench.processes import Helper
from sluicegate.bench.systems import Declared, Sluicegate, Straight, System, hooks
from sluicegate.bench.trial import Shape, Trial, run_trial

WARM_UP = Shape(count=1_000, per_request=100)
LATENCY_RATE = 2_000.0
SLOW_MS = 50.0
IDLE_DESTINATIONS = 1_000
IDLE_WINDOW_S = 30.0
"""The kernel tells CPU in ticks of 10 ms a process: in six of them over 10 s these alone were 0.2 % of a core."""
SETTLE_S = 2.0


class Mode(StrEnum):
    """The parts of the benchmark."""

    BATCHES = "batches"
    SINGLES = "singles"
    LATENCY = "latency"
    COLD_START = "cold-start"
    SLOW_RECEIVER = "slow-receiver"
    IDLE = "idle"


class Contender(StrEnum):
    """Who takes part."""

    STRAIGHT = "straight"
    SLUICEGATE = "sluicegate"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often, how much, and where the data goes."""

    folder: Path
    runs: int = 5
    events: int = 200_000
    """In batches; a tenth of it singly, half of it with a slow receiver."""
    latency_seconds: float = 5.0
    connections: int = 8
    contenders: tuple[Contender, ...] = tuple(Contender)


@dataclass(frozen=True, slots=True)
class IdleRun:
    """A system with many registered destinations and none loaded: memory, processes, CPU share of one core."""

    destinations: int
    pss_bytes: int
    processes: int
    cpu_share: float


@dataclass(slots=True)
class Results:
    """Everything that was measured; `trials` by row name, such as `batches` or `latency singly`."""

    trials: dict[str, list[Trial]] = field(default_factory=dict)
    cold_starts_ms: list[float] = field(default_factory=list)
    idle: list[IdleRun] = field(default_factory=list)
    survivors: int = 0
    """Processes that outlived the end of their system."""

    @property
    def faults(self) -> int:
        """Events lost, and deliveries that should not have been; the benchmark fails with any."""
        return sum(trial.lost + trial.unexpected for trials in self.trials.values() for trial in trials)


class Session:
    """One benchmark: the receivers, which stay, and the systems, which come and go."""

    def __init__(self, plan: Plan, receivers: Sequence[Helper], ports: list[int], say: Callable[[str], None]) -> None:
        self.plan = plan
        self.results = Results()
        self._receivers = receivers
        self._ports = ports
        self._say = say
        self._started = 0
        self._runs = 0

    def measure(self, mode: Mode) -> None:
        """Measure one mode and keep the result; its data is deleted when it succeeded."""
        self._measure(mode)
        for folder in self.plan.folder.glob("system-*"):
            shutil.rmtree(folder)

    def _measure(self, mode: Mode) -> None:
        plan = self.plan
        match mode:
            case Mode.BATCHES:
                self._race({"batches": Shape(plan.events, 100, connections=plan.connections)})
            case Mode.SINGLES:
                self._race({"singles": Shape(max(1, plan.events // 10), 1, connections=plan.connections)})
            case Mode.LATENCY:
                count = round(LATENCY_RATE * plan.latency_seconds)
                self._race(
                    {
                        "latency singly": Shape(count, 1, LATENCY_RATE, plan.connections),
                        "latency in batches": Shape(count, 100, LATENCY_RATE, plan.connections),
                    }
                )
            case Mode.SLOW_RECEIVER:
                count = max(1, plan.events // 2)
                self._race(
                    {
                        "all receivers fast": Shape(count, 100, connections=plan.connections),
                        "first receiver slow": Shape(
                            count, 100, connections=plan.connections, delays_ms=(SLOW_MS, 0.0, 0.0)
                        ),
                    },
                    contenders=(Contender.SLUICEGATE,),
                )
            case Mode.COLD_START:
                self._cold_starts()
            case Mode.IDLE:
                self._idle()

    def _race(self, shapes: dict[str, Shape], *, contenders: tuple[Contender, ...] = tuple(Contender)) -> None:
        """Run every shape on every contender, in turn, `runs` times; both are up all the time."""
        systems: list[System] = []
        try:
            for contender in contenders:
                if contender in self.plan.contenders:
                    systems.append(self._start(contender))
                    self._warm_up(systems[-1])
            for index in range(self.plan.runs):
                for row, shape in shapes.items():
                    for system in systems:
                        self._trial(row, index, system, shape)
        finally:
            for system in systems:
                self.results.survivors += system.stop()

    def _warm_up(self, system: System) -> None:
        trial = run_trial(system, self._receivers, run=self._run_name(), shape=WARM_UP)
        if trial.lost:
            raise BenchError(f"{system.name} did not deliver {trial.lost} events of its warm-up: {system.explain()}")

    def _trial(self, row: str, index: int, system: System, shape: Shape) -> None:
        trial = run_trial(system, self._receivers, run=self._run_name(), shape=shape)
        self.results.trials.setdefault(row, []).append(trial)
        latency = f", p50 {trial.latencies_ms['p50']:.1f} ms" if trial.latencies_ms else ""
        self._say(
            f"{row} {index + 1}/{self.plan.runs} {system.name}: {trial.events_per_s:,.0f} events/s, "
            f"{trial.cpu_us_per_event:.1f} us CPU/event{latency}, {trial.lost} lost, {trial.duplicates} duplicates"
        )

    def _start(self, contender: Contender) -> System:
        folder = self._new_folder()
        if contender is Contender.STRAIGHT:
            return Straight(folder, self._ports)
        return Sluicegate(folder, hooks(self._ports))

    @contextmanager
    def _sluicegate(self, folder: Path, destinations: dict[str, Declared]) -> Iterator[Sluicegate]:
        system = Sluicegate(folder, destinations)
        try:
            yield system
        finally:
            self.results.survivors += system.stop()

    def _cold_starts(self) -> None:
        if Contender.SLUICEGATE not in self.plan.contenders:
            return
        for index in range(self.plan.runs):
            folder = self._new_folder()
            target = folder / "cold.jsonl"
            with self._sluicegate(folder, {"cold": Declared("file", "measurement", {"path": str(target)})}) as system:
                time.sleep(SETTLE_S)
                if target.exists() and target.stat().st_size:
                    raise BenchError(f"{target} has content before the first event")
                took_ms = Probe(system.port, self._run_name()).first_delivery_ms(target)
            self.results.cold_starts_ms.append(took_ms)
            self._say(f"cold start {index + 1}/{self.plan.runs}: {took_ms:.1f} ms")

    def _idle(self) -> None:
        if Contender.SLUICEGATE not in self.plan.contenders:
            return
        url = f"http://127.0.0.1:{self._ports[0]}/hook"
        declared = {f"idle-{n:04d}": Declared("webhook", "marketing", {"url": url}) for n in range(IDLE_DESTINATIONS)}
        with self._sluicegate(self._new_folder(), declared) as system:
            time.sleep(SETTLE_S)
            before_s = tree_cpu_s(system.pid)
            time.sleep(IDLE_WINDOW_S)
            share = (tree_cpu_s(system.pid) - before_s) / IDLE_WINDOW_S
            run = IdleRun(IDLE_DESTINATIONS, tree_pss_bytes(system.pid), len(tree(system.pid)), share)
        self.results.idle.append(run)
        self._say(f"idle: {run.pss_bytes / 1e6:.0f} MB in {run.processes} processes, {100 * share:.2f} % of a core")

    def _new_folder(self) -> Path:
        self._started += 1
        return self.plan.folder / f"system-{self._started}"

    def _run_name(self) -> str:
        """A name no run of this or another benchmark has, so that no message id is ever used twice."""
        self._runs += 1
        return f"r{os.getpid() % 100_000:05d}{self._runs:03d}"


@contextmanager
def session(plan: Plan, *, say: Callable[[str], None]) -> Iterator[Session]:
    """A benchmark whose receivers end with it."""
    receivers: list[Helper] = []
    try:
        for _ in range(3):
            receivers.append(Helper("receiver"))
        yield Session(plan, receivers, [int(receiver.answer()["port"]) for receiver in receivers], say)
    finally:
        for receiver in receivers:
            receiver.stop()
