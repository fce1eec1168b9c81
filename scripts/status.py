"""Commands that look once: status, stats."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import click
from rich.console import Console

from sluicegate.client import Client
from sluicegate.consent.suppressed import read_suppressed
from sluicegate.messages.status import GetStats, GetStatus, StatsAnswer, Statuses
from sluicegate.paths import DataDir
from sluicegate.scripts.options import connect, find_data_dir, json_option, system_options
from sluicegate.scripts.tables import detail_table, stats_json, status_table, statuses_json


@click.command()
@click.argument("id", required=False)
@json_option
@system_options
def status(id: str | None, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Show all destinations, or one of them in full."""
    with connect(config_path, data_dir) as client:
        answer = ask_status(client, id)
    n_suppressed = count_suppressed(find_data_dir(config_path, data_dir))
    if as_json:
        click.echo(json.dumps(statuses_json(answer, n_suppressed), indent=2))
    elif id:
        Console().print(detail_table(answer.destinations[0]))
    else:
        Console().print(status_table(answer.destinations, n_suppressed=n_suppressed))


def ask_status(client: Client, id: str | None = None) -> Statuses:
    """The status of one destination or of all."""
    answer = client.ask_supervisor(GetStatus(uuid4().hex, (id,) if id else None))
    assert isinstance(answer, Statuses)
    return answer


def count_suppressed(where: DataDir) -> int:
    """How many events of suppressed people were left out since there is this data directory."""
    return sum(read_suppressed(where.suppressed).values())


@click.command()
@json_option
@system_options
def stats(as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Show how many destinations are registered, loaded, failed, and how many events of suppressed people came."""
    with connect(config_path, data_dir) as client:
        answer = client.ask_supervisor(GetStats(uuid4().hex))
    assert isinstance(answer, StatsAnswer)
    found = stats_json(answer.stats, count_suppressed(find_data_dir(config_path, data_dir)))
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found)) + 2
    for name, value in found.items():
        click.echo(f"{name:<{width}}{value}")
