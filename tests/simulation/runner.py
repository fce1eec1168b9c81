"""Runs many seeds, in one process or several, and adds up what they were made of."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.faults import Fault
from tests.simulation.world import World, run

CHUNK = 250
LAST_LINES = 60


@dataclass(slots=True)
class Report:
    """What some seeds were made of, and those that broke a rule."""

    n_seeds: int = 0
    n_steps: int = 0
    cpu_s: float = 0.0
    virtual_s: float = 0.0
    fired: Counter[Fault] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Add what other seeds were made of."""
        self.n_seeds += other.n_seeds
        self.n_steps += other.n_steps
        self.cpu_s += other.cpu_s
        self.virtual_s += other.virtual_s
        self.fired += other.fired
        self.seen += other.seen
        self.failures |= other.failures

    def text(self) -> str:
        """The report for people."""
        n = max(1, self.n_seeds)
        lines = [
            f"{self.n_seeds} seeds, {len(self.failures)} failed; {self.n_steps / n:.0f} steps and "
            f"{self.virtual_s / n:.0f} s of virtual time each; {1000 * self.cpu_s / n:.1f} ms of CPU each, "
            f"{n / max(self.cpu_s, 1e-9):.0f} seeds a second and core",
            "faults: " + ", ".join(f"{kind} {self.fired[kind]}" for kind in Fault),
            "seen: " + ", ".join(f"{what} {count}" for what, count in sorted(self.seen.items())),
        ]
        lines += [f"seed {seed}: {error}" for seed, error in sorted(self.failures.items())]
        if self.failures:
            lines.append(f"replay one with: python -m tests.simulation --seed {min(self.failures)} --trace")
        return "\n".join(lines)


def explore(seeds: Iterable[int]) -> Report:
    """Run these seeds in this process."""
    report = Report()
    began = time.process_time()
    for seed in seeds:
        report.n_seeds += 1
        try:
            result = run(seed)
        except Exception as error:  # whatever it is, the product or the simulator is wrong
            report.failures[seed] = f"{type(error).__name__}: {error}"
        else:
            report.n_steps += result.n_steps
            report.virtual_s += result.virtual_s
            report.fired += result.fired
            report.seen += result.seen
    report.cpu_s = time.process_time() - began
    return report


def explore_in_parallel(
    start: int, n_seeds: int, *, processes: int, on_part: Callable[[Report], object] = lambda so_far: None
) -> Report:
    """Run `n_seeds` seeds from `start` on in several processes; `on_part` gets the report so far, now and then."""
    report = Report()
    end = start + n_seeds
    chunks = [range(first, min(first + CHUNK, end)) for first in range(start, end, CHUNK)]
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(explore, chunks):
            report.add(part)
            on_part(report)
    return report


def replay(seed: int) -> tuple[list[str], str | None]:
    """Run one seed again; its trace, and what it broke."""
    world = World(seed, trace=True)
    try:
        world.run()
    except Exception as error:
        return world.trace.lines, f"{type(error).__name__}: {error}"
    return world.trace.lines, None


def explain(seeds: dict[int, str]) -> str:
    """The end of the trace of the first of these failures, and how to see the rest."""
    seed = min(seeds)
    lines, error = replay(seed)
    return "\n".join(
        [
            f"{len(seeds)} seeds failed: {sorted(seeds)[:20]}",
            f"seed {seed}: {error}",
            *lines[-LAST_LINES:],
            f"replay it with: python -m tests.simulation --seed {seed} --trace",
        ]
    )
