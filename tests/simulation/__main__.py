"""`python -m tests.simulation`: explore seeds, or replay one."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from hashlib import sha256

from tests.simulation.runner import CHUNK, Report, explore_in_parallel, replay

PROGRESS_SEEDS = 20 * CHUNK


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when no rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate systems from seeds.")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds (default 2000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--processes", type=int, default=1, help="how many processes (default 1)")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--trace", action="store_true", help="print what happened in it, one line a step")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return _one(chosen.seed, trace=chosen.trace)
    report = explore_in_parallel(chosen.start, chosen.seeds, processes=chosen.processes, on_part=_progress)
    print(report.text())
    return 1 if report.failures else 0


def _progress(so_far: Report) -> None:
    if so_far.n_seeds % PROGRESS_SEEDS == 0:
        failed = f", failed: {sorted(so_far.failures)[:20]}" if so_far.failures else ""
        print(f"{so_far.n_seeds} seeds, {so_far.cpu_s:.0f} s of CPU{failed}", file=sys.stderr, flush=True)


def _one(seed: int, *, trace: bool) -> int:
    lines, error = replay(seed)
    if trace:
        print("\n".join(lines))
    digest = sha256("\n".join(lines).encode()).hexdigest()[:16]
    print(f"seed {seed}: {error or 'no rule was broken'} (trace of {len(lines)} lines, digest {digest})")
    return 1 if error else 0


if __name__ == "__main__":
    logging.disable()  # the product's warnings, by the thousand
    sys.exit(main())
