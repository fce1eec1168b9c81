"""Variants of the system under the standard load in batches, all up at the same time, which take turns."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from sluicegate.bench.conditions import conditions
from sluicegate.bench.events import Says
from sluicegate.bench.processes import Helper
from sluicegate.bench.systems import PROGRAM, Sluicegate, hooks
from sluicegate.bench.trial import Shape, Trial, run_trial

PER_REQUEST = 100
WARM_UP = 1_000


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run: what events say, what destinations require (None: a purpose each), the program, more TOML."""

    name: str
    says: Says = Says.MIXED
    requires: str | None = None
    program: tuple[str, ...] = PROGRAM
    config: str = ""


@dataclass(slots=True)
class Contest:
    """The systems of all variants, and what they have achieved."""

    variants: Sequence[Variant]
    options: argparse.Namespace
    receivers: Sequence[Helper]
    console: Console
    systems: dict[Variant, Sluicegate] = field(default_factory=dict)
    trials: dict[Variant, list[Trial]] = field(default_factory=dict)
    n_runs: int = 0

    def run(self, folder: Path) -> None:
        """Start everything, let them take turns, end everything."""
        ports = [int(receiver.answer()["port"]) for receiver in self.receivers]
        try:
            for number, variant in enumerate(self.variants):
                declared = hooks(ports, requires=variant.requires)
                self.systems[variant] = Sluicegate(
                    folder / f"system-{number}", declared, program=variant.program, more=variant.config
                )
                self.trial(variant, WARM_UP)
            for index in range(self.options.runs):
                for variant in self.variants:
                    trial = self.trial(variant, self.options.events)
                    self.trials.setdefault(variant, []).append(trial)
                    figures = f"{trial.events_per_s:,.0f} events/s, {trial.cpu_us_per_event:.1f} us CPU/event"
                    self.console.print(f"{index + 1}/{self.options.runs} {variant.name}: {figures}", style="dim")
        finally:
            for system in self.systems.values():
                system.stop()

    def trial(self, variant: Variant, n_events: int) -> Trial:
        """One load on one system; ends the benchmark when an event is lost, or arrives where it should not."""
        self.n_runs += 1
        name = f"c{os.getpid() % 100_000:05d}{self.n_runs:03d}"
        shape = Shape(n_events, PER_REQUEST, connections=self.options.connections, says=variant.says)
        trial = run_trial(self.systems[variant], self.receivers, run=name, shape=shape)
        if trial.lost or trial.unexpected:
            system = self.systems[variant]
            sys.exit(f"{variant.name}: {trial.lost} lost, {trial.unexpected} unexpected{system.explain()}")
        return trial

    def table(self, title: str) -> Table:
        """Medians, and what each costs more than the last, which does without most."""
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("")
        for heading in ("events/s", "of the last", "CPU us/event", "more than the last", "deliveries/event"):
            table.add_column(heading, justify="right")
        last_rate, last_cpu, _ = self._medians(self.variants[-1])
        for variant in self.variants:
            rate, cpu, deliveries = self._medians(variant)
            figures = f"{rate:,.0f}", f"{rate / last_rate:.2f}", f"{cpu:.1f}", f"{cpu - last_cpu:+.1f}"
            table.add_row(variant.name, *figures, f"{deliveries:.1f}")
        return table

    def _medians(self, variant: Variant) -> tuple[float, float, float]:
        trials = self.trials[variant]
        deliveries = sum(report.arrived for report in trials[0].receivers) / trials[0].shape.count
        return median(t.events_per_s for t in trials), median(t.cpu_us_per_event for t in trials), deliveries


def compare(variants: Sequence[Variant], *, title: str, description: str | None) -> None:
    """Measure as the command line says, and print."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--dir", type=Path, help="where data is written; default: the temporary directory")
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    receivers: list[Helper] = []
    with tempfile.TemporaryDirectory(prefix="sluicegate-turns-", dir=options.dir) as folder:
        under = conditions(Path(folder), connections=options.connections, runs=options.runs, events=options.events)
        for line in under.lines():
            console.print(line, soft_wrap=True)
        try:
            for _ in range(3):
                receivers.append(Helper("receiver"))
            contest = Contest(variants, options, receivers, console)
            contest.run(Path(folder))
        finally:
            for receiver in receivers:
                receiver.stop()
    console.print(contest.table(title))
