"""`sluicegate bench`: how fast the system is on this machine, beside the least that a plain program needs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sluicegate.bench.conditions import Conditions, conditions
from sluicegate.bench.errors import BenchError
from sluicegate.bench.modes import Contender, Mode, Plan, Results, session
from sluicegate.bench.report import Finding, Row, as_json, examples, findings, rows
from sluicegate.scripts.interrupts import Interrupts

WIDTH = 100
"""Of the tables where no terminal says."""


def _several(choices: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A callback that takes a comma-separated list of these names; unknown ones are a usage error."""

    def names_in(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
        names = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if not names or not set(names) <= set(choices):
            raise click.BadParameter(f"{value!r} is not a list of: {', '.join(choices)}", ctx, param)
        return names

    return names_in


@click.command()
@click.option(
    "--mode", "modes", callback=_several([*Mode]), default=",".join(Mode), show_default=True, help="What to measure."
)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each; medians are printed.")
@click.option(
    "--events",
    type=click.IntRange(100, 2_000_000),
    default=200_000,
    show_default=True,
    help="Events a run in batches; a tenth of it is sent singly. Each takes 2 KB of memory while it runs.",
)
@click.option("--connections", type=click.IntRange(1, 64), default=8, show_default=True, help="Of the load generator.")
@click.option(
    "--system", "systems", callback=_several([*Contender]), default=",".join(Contender), help="Which to measure."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the data is written meanwhile; take the disk you mean to use.  [default: the temporary directory]",
)
@click.option("--json", "for_programs", is_flag=True, help="Everything, with each single run, as JSON.")
def bench(
    *,
    modes: list[str],
    runs: int,
    events: int,
    connections: int,
    systems: list[str],
    folder: Path | None,
    for_programs: bool,
) -> None:
    """Measure this system on this machine, in turn with the straight line.

    The straight line is one plain program that does the least for the same work; see docs/benchmarks.md.
    Ends with 1 if an event was lost, or arrived where it was not permitted.
    """
    console = Console(stderr=for_programs, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    progress = Console(stderr=True, highlight=False, style="dim")
    if folder is not None:
        folder = folder.absolute()  # a relative path in a configuration would start at the system's data directory
        folder.mkdir(parents=True, exist_ok=True)
    with Interrupts() as interrupts, tempfile.TemporaryDirectory(prefix="sluicegate-bench-", dir=folder) as root:
        plan = Plan(
            Path(root), runs, events, connections=connections, contenders=tuple(Contender(name) for name in systems)
        )
        under = conditions(plan.folder, connections=connections, runs=runs, events=events)
        _print_conditions(console, under)
        results = _measure(plan, [Mode(name) for name in modes], progress, interrupts)
    if for_programs:
        click.echo(json.dumps(as_json(under, results), indent=2))
    else:
        _print_results(console, results)
    _print_faults(progress, results)
    sys.exit(1 if results.faults else 0)


def _measure(plan: Plan, modes: Sequence[Mode], progress: Console, interrupts: Interrupts) -> Results:
    def say(line: str) -> None:
        progress.print(line, soft_wrap=True)
        interrupts.check()

    try:
        with session(plan, say=say) as running:
            for mode in modes:
                running.measure(mode)
            return running.results
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _print_conditions(console: Console, under: Conditions) -> None:
    for line in under.lines():
        console.print(line, soft_wrap=True)
    if under.filesystem == "tmpfs":
        console.print("[yellow]a tmpfs makes every fsync free; name a folder on a disk with --dir[/yellow]")


def _print_results(console: Console, results: Results) -> None:
    if table := rows(results):
        console.print(_load_table(table))
    if held := findings(results):
        console.print(_target_table(held))


def _load_table(table: Sequence[Row]) -> Table:
    output = Table(title="Load", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    output.add_column("load", no_wrap=True)
    output.add_column("system", no_wrap=True)
    for title in ("events/s", "ratio", "CPU us", "p50 ms", "p99 ms", "lost", "twice"):
        output.add_column(title, justify="right", no_wrap=True)
    for row in table:
        output.add_row(
            row.load,
            row.system,
            f"{row.events_per_s:,.0f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            f"{row.cpu_us_per_event:.1f}",
            "" if row.p50_ms is None else f"{row.p50_ms:.1f}",
            "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
            str(row.lost),
            str(row.duplicates),
        )
    return output


def _target_table(held: Sequence[Finding]) -> Table:
    output = Table(title="Targets", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    output.add_column("figure")
    output.add_column("measured", justify="right")
    output.add_column("target", justify="right")
    output.add_column("")
    for finding in held:
        relation = "at most" if finding.at_most else "at least"
        verdict = "met" if finding.met else "[red]missed[/red]"
        measured = f"{finding.value:,.4g}" if finding.value < 1_000 else f"{finding.value:,.0f}"
        output.add_row(finding.name, measured, f"{relation} {finding.target:,g} {finding.unit}".rstrip(), verdict)
    return output


def _print_faults(progress: Console, results: Results) -> None:
    if results.faults:
        progress.print(f"{results.faults} events were lost or arrived where they should not have", style="red")
        for example in examples(results)[:10]:
            progress.print(f"  {example}")
    if results.survivors:
        progress.print(f"{results.survivors} processes outlived their system and were killed", style="red")
