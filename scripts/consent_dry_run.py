"""`sluicegate consent dry-run`: what another requirement of a destination would mean, over the log; changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sluicegate.audit.words import Final
from sluicegate.config import Config
from sluicegate.config.model import DestinationConfig, PurposesConfig, Requirement
from sluicegate.config.problems import did_you_mean
from sluicegate.consent.requirement import NECESSARY
from sluicegate.delivery.gate import open_ledger_reader
from sluicegate.errors import Refused
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.explain.now import Considering
from sluicegate.explain.what_if import WhatIf, compare
from sluicegate.explain.words import requirement_text
from sluicegate.paths import DataDir
from sluicegate.scripts.bars import bars
from sluicegate.scripts.options import find_config, find_data_dir, json_option, system_options
from sluicegate.scripts.tables import cell, table_of


@click.command("dry-run")
@click.option("--destination", required=True, help="The destination, by its name in the configuration.")
@click.option("--also-requires", "more", multiple=True, metavar="PURPOSE", help="Besides what it requires now.")
@click.option("--requires", "instead", multiple=True, metavar="PURPOSE", help="Instead of what it requires now.")
@json_option
@system_options
def dry_run(
    destination: str,
    more: tuple[str, ...],
    instead: tuple[str, ...],
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Tell what would change if a destination required other purposes.

    Judges every event that the log still holds twice, by what is required now and by what would be, as if it were to be
    sent at this moment. Writes nothing; works on a running and on a stopped system. Options may be given repeatedly.
    """
    if not (more or instead):
        raise click.UsageError("name at least one purpose with --also-requires or --requires")
    where, config = find_data_dir(config_path, data_dir), find_config(config_path, data_dir)
    if config is None:
        raise click.UsageError("name the configuration with --config: it says what the destination requires")
    chosen = _destination(config, destination)
    requires = Requirement(_purposes(instead, config.purposes)) if instead else chosen.requires
    requires = requires.joined(_purposes(more, config.purposes))
    found = _compared(where, config, chosen, requires, as_json=as_json)
    if as_json:
        click.echo(json.dumps(_as_json(chosen, requires, found)))
    else:
        _print(chosen, requires, found)


def _compared(
    where: DataDir, config: Config, chosen: DestinationConfig, requires: Requirement, *, as_json: bool
) -> WhatIf:
    if not where.event_log.exists():
        raise Refused(f"{where.root} has no event log; name the data directory with --data-dir")
    log, reader = SqliteLog(where.event_log, create=False, reader=None), open_ledger_reader(where, config.consent)
    try:
        now = Considering(chosen, config.consent, reader)
        then = Considering(chosen, config.consent, reader, requires=requires)
        with bars(as_json=as_json) as progress:
            bar = progress.add_task("judging", total=None)
            return compare(log, now, then, seen=lambda done, total: progress.update(bar, completed=done, total=total))
    finally:
        reader.close()
        log.close()


def _destination(config: Config, name: str) -> DestinationConfig:
    found = config.destinations.get(name)
    if found is None:
        raise Refused(f"there is no destination {name!r}; {did_you_mean(name, config.destinations)}")
    return found


def _purposes(names: tuple[str, ...], purposes: PurposesConfig) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(map(purposes.resolve, names)))
    for name in found:
        if name != NECESSARY and name not in purposes.known:
            raise click.BadParameter(f"{name!r} is no purpose; {did_you_mean(name, purposes.known)}")
    return found


def _as_json(chosen: DestinationConfig, requires: Requirement, found: WhatIf) -> dict[str, Any]:
    return {
        "destination": chosen.id,
        "requires": asdict(chosen.requires),
        "wouldRequire": asdict(requires),
        "unreadable": found.n_unreadable,
        **_sides(found, found.changes),
        "sources": {source: _sides(found, changes) for source, changes in sorted(found.by_source.items())},
    }


def _sides(found: WhatIf, changes: Counter[tuple[Final, Final]]) -> dict[str, Any]:
    return {
        "events": changes.total(),
        "now": _by_name(found.now(changes)),
        "then": _by_name(found.then(changes)),
        "changed": [
            {"from": before.value, "to": after.value, "events": n}
            for (before, after), n in sorted(changes.items())
            if before is not after
        ],
    }


def _by_name(counts: Mapping[Final, int]) -> dict[str, int]:
    return {decision.value: counts[decision] for decision in Final if counts.get(decision)}


def _print(chosen: DestinationConfig, requires: Requirement, found: WhatIf) -> None:
    console = Console()
    table = table_of("source", "decision", "now", "then", "change")
    for source, changes in sorted(found.by_source.items()):
        now, then = found.now(changes), found.then(changes)
        for decision in Final:
            if now[decision] or then[decision]:
                counts = f"{now[decision]:,}", f"{then[decision]:,}", f"{then[decision] - now[decision]:+,}"
                table.add_row(cell(source), decision.value.replace("_", " "), *counts)
    console.print(table)
    before, after = requirement_text(chosen.requires), requirement_text(requires)
    click.echo(f"now: {chosen.id} {before}; then: {chosen.id} {after}")
    changes = found.changes
    lost, won = (
        found.now(changes)[Final.DELIVERED] - changes[Final.DELIVERED, Final.DELIVERED],
        found.then(changes)[Final.DELIVERED] - changes[Final.DELIVERED, Final.DELIVERED],
    )
    click.echo(f"{found.n_events:,} events: {lost:,} would not go any more, {won:,} would go that do not go now")
    if found.n_unreadable:
        click.echo(f"{found.n_unreadable:,} events are damaged in the log and were not judged", err=True)
    click.echo("nothing was changed")
