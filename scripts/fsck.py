"""The `fsck` command: check the files of a stopped system, and repair them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from sluicegate.errors import NotRunning
from sluicegate.eventlog.quarantine import Damage, Quarantine, n_lost
from sluicegate.explain.times import time_text
from sluicegate.fsck.check import check
from sluicegate.fsck.findings import Finding, Progress
from sluicegate.lock import AlreadyRunning, DataDirLock
from sluicegate.paths import DataDir
from sluicegate.scripts.bars import bars
from sluicegate.scripts.options import find_data_dir, json_option, require_system, system_options
from sluicegate.scripts.tables import cell, table_of


@click.command()
@click.option(
    "--repair", is_flag=True, help="Mend what can be mended; damaged files are kept beside the new ones, with a date."
)
@json_option
@system_options
def fsck(repair: bool, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Check the event log and all stores of a stopped system; exit code 0: nothing is wrong, 1: something is or was."""
    where = find_data_dir(config_path, data_dir)
    try:
        require_system(where)
    except NotRunning as error:
        raise click.UsageError(str(error)) from None
    with _held(where), _progress(as_json=as_json) as progress:
        findings = check(where, repair=repair, progress=progress)
        quarantine = [] if any(where.quarantine.name == one.file for one in findings) else Quarantine(where.root).all()
    if as_json:
        rows = [{**asdict(one), "events": one.n_events} for one in findings]
        click.echo(
            json.dumps({"clean": not findings, "findings": rows, "quarantine": [asdict(one) for one in quarantine]})
        )
    else:
        _print(findings, repair=repair)
        _print_quarantine(quarantine)
    sys.exit(1 if findings else 0)


@contextmanager
def _held(where: DataDir) -> Iterator[None]:
    """Nothing else may use the files meanwhile: the lock of `serve`."""
    lock = DataDirLock(where.lock)
    try:
        lock.acquire(timeout_s=0, by="sluicegate fsck")
    except AlreadyRunning as error:
        raise click.UsageError(str(error)) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Progress]:
    with bars(as_json=as_json) as shown:
        tasks: dict[str, object] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=None)
            shown.update(tasks[what], completed=done, total=total or None)  # type: ignore[arg-type]

        yield show


def _print(findings: list[Finding], *, repair: bool) -> None:
    if findings:
        table = table_of("file", "events", "count", "what is wrong", "repaired")
        for one in findings:
            events = "" if one.first is None else f"{one.first}-{one.last}"
            table.add_row(one.file, events, str(one.n_events or ""), cell(one.what), one.repaired or "")
        Console().print(table)
        if not repair:
            click.echo("repair with `sluicegate fsck --repair`, or restore a backup")
    else:
        click.echo("nothing is wrong")


def _print_quarantine(quarantine: list[Damage]) -> None:
    if not quarantine:
        return
    click.echo(f"{n_lost(quarantine)} events are in quarantine: they were stored and can no longer be read")
    table = table_of("events", "met by", "at", "why")
    for one in quarantine:
        table.add_row(f"{one.first}-{one.last}", cell(one.found_by), time_text(one.found_at_ms), cell(one.why))
    Console().print(table)
