"""The `audit` commands: check and export the proof of how every event ended. They work on a running system too."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sluicegate.errors import Refused
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.proof import Decided, Verified, export, missing_head, verify
from sluicegate.scripts.options import find_data_dir, json_option, system_options
from sluicegate.scripts.tables import table_of

_ROW = re.compile(r"[0-9]{1,18}")
"""A row's number; no store holds a longer one."""


@click.group("audit")
def audit() -> None:
    """The proof of how every event ended at every destination: verify, export."""


@audit.command("verify")
@click.option(
    "--expect",
    "expected",
    multiple=True,
    metavar="DESTINATION:ROW:HASH",
    help="A head that an earlier check has printed; the row must be there and have this hash. May be given repeatedly.",
)
@json_option
@system_options
def verify_chains(expected: tuple[str, ...], as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Check that no decision was changed, removed or added, and that every event is accounted for.

    Exit code 0: every chain is whole; 1: one is not. Note the heads at a place that whoever can write to the data
    directory cannot reach, and check them with --expect: a chain that was made anew as a whole shows only by that.
    """
    where = _existing(find_data_dir(config_path, data_dir))
    found = verify(where, head=_head(where))
    strangers = [fault for text in expected if (fault := _stranger(where, text))]
    if as_json:
        rows = [{**asdict(one), "settled": one.settled, "whole": one.fault is None} for one in found]
        whole = not strangers and all(one.fault is None for one in found)
        click.echo(json.dumps({"whole": whole, "destinations": rows, "unexpected": strangers}))
    else:
        _print(found)
        for fault in strangers:
            click.echo(fault, err=True)
    sys.exit(1 if strangers or any(one.fault for one in found) else 0)


@audit.command("export")
@click.argument("destinations", nargs=-1)
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of a JSON object a line.")
@json_option
@system_options
def export_decisions(
    destinations: tuple[str, ...], as_csv: bool, as_json: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """Print how every event ended, as ranges of offsets, of all destinations or of those named.

    Of lines about the same event the last one counts.
    """
    if as_csv and as_json:
        raise click.UsageError("choose one of --csv and --json; without either it is JSON")
    where = _existing(find_data_dir(config_path, data_dir))
    names = destinations or tuple(sorted(path.stem for path in where.stores.glob("*.db")))
    for name in names:
        if not where.store(name).exists():
            raise Refused(f"{name} has no store in {where.stores}")
    rows = (_row(one) for name in names for one in export(where, name))
    if as_csv:
        _write_csv(rows)
        return
    for row in rows:
        click.echo(json.dumps(row))


def _write_csv(rows: Iterator[dict[str, Any]]) -> None:
    names = [*(field.name for field in fields(Decided) if field.name != "until_ms"), "until"]
    writer = csv.DictWriter(sys.stdout, names)
    writer.writeheader()
    writer.writerows(rows)


def _row(one: Decided) -> dict[str, Any]:
    row = asdict(one)
    row["until"] = datetime.fromtimestamp(row.pop("until_ms") / 1000, UTC).isoformat(timespec="milliseconds")
    return row


def _print(found: list[Verified]) -> None:
    table = table_of("destination", "events", "decided", "held", "waiting", "rows", "how they ended")
    for one in found:
        ended = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in one.decided.items())
        counts = [f"{n:,}" for n in (one.accepted, one.settled, one.held, one.waiting, one.rows)]
        table.add_row(one.destination, *counts, ended)
    Console().print(table)
    for one in found:
        if one.head:
            click.echo(f"head: {one.destination}:{one.head}:{one.head_hash[:16]}")
        if one.fault is not None:
            click.echo(f"{one.destination}: BROKEN: {one.fault}", err=True)
        elif one.since:
            click.echo(f"{one.destination}: events up to {one.since} are in the counts alone")
    if all(one.fault is None for one in found):
        click.echo("every chain is whole, and every event is accounted for")


def _stranger(where: DataDir, text: str) -> str | None:
    destination, _, rest = text.partition(":")
    number, _, hash_ = rest.partition(":")
    if not (destination and _ROW.fullmatch(number) and len(hash_) >= 8):
        raise click.BadParameter(f"{text!r} is not DESTINATION:ROW:HASH", param_hint="--expect")
    fault = missing_head(where, destination, int(number), hash_)
    return fault and f"{destination}: UNEXPECTED: {fault}"


def _existing(where: DataDir) -> DataDir:
    if not where.event_log.exists():
        raise Refused(f"{where.root} has no event log; name the data directory with --data-dir")
    return where


def _head(where: DataDir) -> int:
    log = SqliteLog(where.event_log, create=False, reader=None)
    try:
        return log.head()
    finally:
        log.close()
