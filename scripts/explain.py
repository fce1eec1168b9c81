"""The `explain` command: the story of one event."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sluicegate.config import Config, embedded_config
from sluicegate.errors import Refused
from sluicegate.eventlog.quarantine import Quarantine, n_lost
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.explain import StoredEvent, fates, find_events
from sluicegate.paths import DataDir
from sluicegate.registry import Registry
from sluicegate.scripts.options import find_config, find_data_dir, json_option, system_options


@click.command()
@click.argument("message_id")
@json_option
@system_options
def explain(message_id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Tell what happened to an event at each destination, and why; works on a stopped system too.

    An event that was sent again is not stored again: what is told is the story of the first one.
    """
    where = find_data_dir(config_path, data_dir)
    config = find_config(config_path, data_dir) or embedded_config(where.root)[0]
    stories = _stories(message_id, config, where)
    if not stories:
        raise Refused(
            f"no event {message_id} in {where.event_log}: never accepted, or older than the log's retention"
            + _quarantined(where)
        )
    if as_json:
        click.echo(json.dumps({"messageId": message_id, "events": stories}))
        return
    for story in stories:
        table = Table("destination", "outcome", "why", title=f"{story['type']} received {story['receivedAt']}")
        for fate in story["destinations"]:
            table.add_row(fate["destination"], fate["outcome"], fate["why"])
        Console().print(table)


def _quarantined(where: DataDir) -> str:
    damages = Quarantine(where.root).all()
    if not damages:
        return ""
    return f", or one of the {n_lost(damages)} events that were damaged in the log (`sluicegate fsck` shows which)"


def _stories(message_id: str, config: Config, where: DataDir) -> list[dict[str, Any]]:
    if not where.event_log.exists():
        raise Refused(f"{where.root} has no event log; name the data directory with --data-dir")
    log = SqliteLog(where.event_log, create=False, reader="explain")
    registry = Registry(where.control, create=False)
    try:
        registered = registry.all()
        head = log.head()
        return [
            {
                **_event(event),
                "destinations": [asdict(f) for f in fates(event, message_id, config, where, registered, head)],
            }
            for event in find_events(log, message_id)
        ]
    finally:
        registry.close()
        log.close()


def _event(event: StoredEvent) -> dict[str, Any]:
    return {
        "offset": event.offset,
        "type": event.combo.type,
        "source": event.combo.source,
        "receivedAt": _time(event.received_at_ms),
        "timestamp": _time(event.time_ms),
        "consent": dict(event.combo.stamp),
    }


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
