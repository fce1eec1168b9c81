"""The loss report: what was run, under which conditions, and what was found, as a page for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from sluicegate.bench.measure import filesystem, fsync_ms
from sluicegate.delivery.breaker import OPEN_CAP_S, OPEN_S
from tests.faults.judging import SETTLE_S
from tests.faults.limits import BACKLOG_S
from tests.faults.ordinary import Tally, index
from tests.faults.record import INVARIANTS, MAX_PROBLEM_CHARS, Record
from tests.simulation.faults import Fault
from tests.simulation.runner import Report

HEAD = f"""\
# Loss report

Faults against the real system: processes, files and sockets. An oracle sends events whose content is a function of
their id; whatever was answered with 200 is an obligation. After each fault the system is left alone, fresh events must
go through, and everything pending must be settled within {SETTLE_S:.0f} s, not counting the time in which a circuit
breaker is open: {OPEN_S:.0f} s after the first failures, up to {OPEN_CAP_S:.0f} s after long ones. (F40 has
{BACKLOG_S:.0f} s for a gigabyte that waits.) Then every acknowledged event must be at each destination that it may go
to, byte for byte and in the order of its subject, or be a dead letter; nothing may be anywhere that its consent does
not allow; and the accounts, which were polled ten times a second in the status and twice a second in the metrics all
the while, must add up at every poll and agree with each other, the log and the receivers in the end.
[faults.md](faults.md) has all that is checked, and the bounds.

Repeat it with `scripts/faults --long`, one fault with `scripts/faults --only F08 --seed N`. Which faults there are and
what each does is in `tests/faults/`. The first table has those that act on a whole running system, the second the
tests of single parts with real processes, files and sockets, the section after it simulated systems.
"""
MEANINGS = """\
- *acknowledged*: events answered with 200. *lost*: acknowledged, permitted, and neither delivered nor a dead letter,
  over all destinations.
- *delivered again*: deliveries beyond the first, over all destinations. *stored again*: events that a client without an
  answer has sent again, and that were stored twice.
- *fired*: how often the fault happened, over the runs; where it lasts, how many kinds of it there were.
- *recovery*: from the end of the fault until fresh events had gone through and nothing was pending, the longest of the
  runs; it includes the backoff that the fault has left behind. *again after*: from the (last) fault to the next 200.
"""


SIMULATED_INVARIANTS = ("I1", "I3", "I4", "I6", "I8", "I9")
MAX_FAILED_SEEDS = 20


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and when it was run."""

    command: str
    seeds: Sequence[int]
    jobs: int
    took_s: float
    folder: Path

    def lines(self) -> Iterator[str]:
        """For people."""
        cores = len(os.sched_getaffinity(0))
        yield f"{datetime.now(UTC):%d %B %Y}, `{self.command}`"
        seeds = ", ".join(map(str, self.seeds))
        yield f"seeds {seeds}, {self.jobs} scenarios at a time, {self.took_s / 60:.1f} minutes"
        yield f"{cores} cores, load {os.getloadavg()[0]:.1f} at the end, Linux {platform.release().partition('-')[0]}"
        yield f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
        yield f"data on {filesystem(self.folder)}, fdatasync of 52 KB takes {fsync_ms(self.folder):.2f} ms"


def page(
    records: Sequence[Record],
    conditions: Conditions,
    *,
    tallies: Mapping[str, Tally] | None = None,
    simulated: Report | None = None,
    first_simulated: int = 0,
) -> str:
    """The whole report as Markdown; None stands for what was not run."""
    ran = [record for record in records if record.outcome != "skipped"]
    parts = [HEAD, _summary(ran), "## Conditions\n", *(f"- {line}" for line in conditions.lines()), ""]
    parts += ["## Faults\n", *_table(ran), "", MEANINGS, *_failures(ran)]
    if tallies is not None:
        parts += _ordinary(tallies)
    if simulated is not None:
        parts += _simulated(simulated, first_simulated)
    parts += [*_figures(ran), *_skipped(records)]
    return "\n".join(parts).rstrip() + "\n"


def _summary(ran: Sequence[Record]) -> str:
    versions = ", ".join(sorted({f"{record.version} (commit {record.commit})" for record in ran}))
    failed = sum(record.outcome == "failed" for record in ran)
    acknowledged, lost = sum(r.acknowledged for r in ran), sum(r.lost for r in ran)
    return (
        f"**Version {versions}: {acknowledged:,} acknowledged events in {len(ran)} runs of "
        f"{len({record.number for record in ran})} faults, {lost} lost, {failed} runs failed.**\n"
    )


def _table(ran: Sequence[Record]) -> Iterator[str]:
    titles = ("fault", "what", "runs", "fired", "acknowledged", "lost")
    yield f"| {' | '.join((*titles, 'delivered again', 'stored again', 'again after', 'recovery'))} |"
    yield "|---" * 10 + "|"
    for number in sorted({record.number for record in ran}):
        own = [record for record in ran if record.number == number]
        yield (
            f"| {number} | {own[0].title} | {len(own)} | {sum(len(r.fired) for r in own)} "
            f"| {sum(r.acknowledged for r in own):,} | {sum(r.lost for r in own)} "
            f"| {sum(sum(r.duplicates.values()) for r in own):,} | {sum(r.stored_again for r in own):,} "
            f"| {_longest(r.figures.get('acknowledged_again_s') for r in own)} "
            f"| {_longest(r.recovery_s for r in own)} |"
        )


def _longest(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.2f} s" if known else ""


def _ordinary(tallies: Mapping[str, Tally]) -> Iterator[str]:
    failed = [number for number, one in tallies.items() if one.n_failed]
    yield "## Faults of single parts\n"
    yield (
        f"Tests of {len(tallies)} faults, which CI runs too and [faults.md](faults.md) names; "
        f"{', '.join(failed) or 'none'} failed. Events are those of tests that say how many were acknowledged.\n"
    )
    yield "| fault | what | tests | failed | skipped | acknowledged | lost | took |"
    yield "|---" * 8 + "|"
    for fault in index():
        if (one := tallies.get(fault.number)) is not None:
            told = (f"{one.acknowledged:,}", str(one.lost)) if one.acknowledged else ("", "")
            yield (
                f"| {fault.number} | {fault.what} | {one.n_tests} | {one.n_failed} | {one.n_skipped} "
                f"| {told[0]} | {told[1]} | {one.took_s:.1f} s |"
            )
    yield ""


def _simulated(report: Report, first: int) -> Iterator[str]:
    n = max(1, report.n_seeds)
    yield "## Simulated systems\n"
    yield (
        "The product's rules of loading, delivery, holding and erasing under a virtual clock, with faults at every "
        "step from a seed (`python -m tests.simulation --seed N`). A judge of its own looks at every step and at the "
        "end for "
        f"{', '.join(SIMULATED_INVARIANTS)}.\n"
    )
    yield f"- **{report.n_seeds:,} seeds from {first} on, {len(report.failures)} failed**"
    yield f"- {report.cpu_s:,.0f} s of CPU, {1000 * report.cpu_s / n:.1f} ms a seed"
    yield f"- {report.n_steps:,} steps, {report.virtual_s / 3600:,.0f} hours of virtual time"
    yield f"- faults: {_counts({kind: report.fired[kind] for kind in Fault})}"
    yield f"- seen: {_counts(dict(sorted(report.seen.items())))}"
    for seed, error in sorted(report.failures.items())[:MAX_FAILED_SEEDS]:
        yield f"- seed {seed} failed: {error[:MAX_PROBLEM_CHARS]}"
    yield ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts.items())


def _failures(ran: Sequence[Record]) -> Iterator[str]:
    failed = [record for record in ran if record.outcome == "failed"]
    if failed:
        yield "## Failed\n"
    for record in failed:
        broken = [name for name in INVARIANTS if record.invariants.get(name) == "failed"]
        what = f"broke {', '.join(broken)}" if broken else "did not come to its end"
        yield f"- {record.number}, seed {record.seed}: {what}. {record.problem}"
    if failed:
        yield ""


def _figures(ran: Sequence[Record]) -> Iterator[str]:
    yield "## Measured beside it\n"
    yield "The longest or largest of the runs. Memory is the sum over all processes; what they share counts for each.\n"
    for number in sorted({record.number for record in ran}):
        own = [record for record in ran if record.number == number]
        names = sorted({name for record in own for name in record.figures} - {"status_seen", "metrics_seen"})
        values = {name: max(record.figures[name] for record in own if name in record.figures) for name in names}
        yield f"- {number}: " + ", ".join(f"{name} {value:g}" for name, value in values.items())
    yield ""


def _skipped(records: Sequence[Record]) -> Iterator[str]:
    yield "## Not tried\n"
    reasons = sorted({f"- {record.number}: {reason}" for record in records for reason in record.skipped})
    yield from reasons or ["- nothing was left out"]
