"""`scripts/faults`: runs the scenarios outside of pytest, writes their records and the loss report."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

from sluicegate.bench.measure import tree
from tests.faults import catalogue  # noqa: F401  (registers the scenarios)
from tests.faults.ordinary import Tally, run_tests
from tests.faults.programs import ROOT
from tests.faults.record import Record, new_record
from tests.faults.report import Conditions, page
from tests.faults.scenario import SCENARIOS, run_scenario
from tests.simulation.runner import Report, explore_in_parallel

SIMULATED = 100_000
REPORT = ROOT / "docs" / "loss-report.md"


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 1 when anything was lost or any check failed."""
    options = _parser().parse_args(arguments)
    whole = options.long and not options.only
    options.tests = whole if options.tests is None else options.tests
    options.simulate = (SIMULATED if whole else 0) if options.simulate is None else options.simulate
    numbers = [number for one in options.only for number in one.split(",")] or list(SCENARIOS)
    if unknown := set(numbers) - SCENARIOS.keys():
        print(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    seeds = range(first, first + (options.seeds or (2 if options.long else 1)))
    began = time.monotonic()
    with _folder(options.keep) as folder:
        records = _run_all(numbers, seeds, Path(folder), options)
        took_s = time.monotonic() - began
        tallies = run_tests(jobs=options.jobs, folder=Path(folder)) if options.tests else None
        simulated = _simulate(options) if options.simulate else None
        conditions = Conditions(_command(arguments), seeds, options.jobs, took_s, Path(folder))
        report = page(records, conditions, tallies=tallies, simulated=simulated, first_simulated=options.simulate_from)
    if options.json:
        options.json.write_text("".join(record.line() + "\n" for record in records))
    if options.report or whole:
        (options.report or REPORT).write_text(report)
    failed = [record for record in records if record.outcome == "failed"]
    print(f"{len(records)} runs, {len(failed)} failed, {sum(record.lost for record in records)} events lost")
    n_failed = len(failed) + _report_others(tallies, simulated)
    return 1 if n_failed else 0


def _report_others(tallies: Mapping[str, Tally] | None, simulated: Report | None) -> int:
    """Say what came of the tests and the simulator; how many have failed."""
    n_failed = 0
    if tallies is not None:
        n_failed += (n := sum(one.n_failed > 0 for one in tallies.values()))
        print(f"tests of {len(tallies)} faults, {n} failed")
    if simulated is not None:
        n_failed += len(simulated.failures)
        print(f"{simulated.n_seeds} simulated systems, {len(simulated.failures)} failed")
    return n_failed


def _simulate(options: argparse.Namespace) -> Report:
    """Let the simulator run, without the product's warnings, of which there are thousands."""
    logging.disable()
    try:
        return explore_in_parallel(options.simulate_from, options.simulate, processes=options.jobs)
    finally:
        logging.disable(logging.NOTSET)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Faults against a real system; loses nothing.")
    parser.add_argument(
        "--long",
        action="store_true",
        help="more events, longer faults; the tests, the simulator; writes docs/loss-report.md",
    )
    parser.add_argument("--only", action="append", default=[], metavar="F08", help="this fault alone; may be repeated")
    parser.add_argument("--seed", type=int, help="the first seed; by chance when left out")
    parser.add_argument("--seeds", type=int, help="so many seeds for each fault; 2 in the long form, else 1")
    parser.add_argument("--jobs", type=int, default=2, help="so many scenarios at a time (2)")
    parser.add_argument(
        "--simulate", type=int, metavar="SEEDS", help=f"and simulate so many systems ({SIMULATED:,} if long)"
    )
    parser.add_argument("--simulate-from", type=int, default=0, metavar="SEED", help="the first of them (0)")
    parser.add_argument(
        "--tests", action=argparse.BooleanOptionalAction, help="run the tests of docs/faults.md too (if long)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record for each run, one line of JSON each")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the loss report there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the systems' data, logs and journals there")
    return parser


@contextmanager
def _folder(keep: Path | None) -> Iterator[str]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield str(keep)
        return
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        yield folder


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End with all that was started, stopped processes too: nobody else would."""
    for _ in range(2):  # scenarios go on meanwhile, and one may just have started something
        for pid in reversed(tree(os.getpid())[1:]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os._exit(128 + number)


def _command(arguments: Sequence[str]) -> str:
    return " ".join(["scripts/faults", *arguments])


def _run_all(numbers: Sequence[str], seeds: Sequence[int], folder: Path, options: argparse.Namespace) -> list[Record]:
    """Run them, no two in the same process: judging one takes the interpreter for seconds at a time, in which the
    watcher of another would see nothing."""
    wanted = [(number, seed) for number in numbers for seed in seeds]
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        running = [pool.submit(_run_one, number, seed, folder, options.long) for number, seed in wanted]
        return [one.result() for one in running]


def _run_one(number: str, seed: int, folder: Path, long: bool) -> Record:
    """One record, whatever happens: what others have found is not lost with it."""
    own = folder / f"{number}-{seed}"
    try:
        own.mkdir()
        return run_scenario(number, own, seed=seed, long=long)
    except Exception as error:
        traceback.print_exc()
        record: Record | None = getattr(error, "record", None)
        if record is None:
            record = new_record(number, SCENARIOS[number][0], seed=seed, long=long)
            record.fail(repr(error))
        return record


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_at_once)
    sys.exit(main(sys.argv[1:]))
