"""The `explain` command: the story of one event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sluicegate.config import Config, kept_embedded_config
from sluicegate.config.problems import did_you_mean
from sluicegate.errors import Refused
from sluicegate.eventlog.quarantine import Quarantine, n_lost
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.explain.fate import Fate
from sluicegate.explain.fates import Fates, offsets_of_letters, removed
from sluicegate.explain.find import StoredEvent, event_at, find_events
from sluicegate.explain.times import time_text
from sluicegate.explain.words import as_json, story, why
from sluicegate.logs import printable
from sluicegate.paths import DataDir
from sluicegate.registry import Registry, registrations
from sluicegate.scripts.options import find_config, find_data_dir, json_option, system_options
from sluicegate.scripts.tables import cell, table_of


@dataclass(frozen=True, slots=True)
class _Told:
    """One event, None when it is gone from the log, and its fates."""

    offset: int
    event: StoredEvent | None
    fates: list[Fate]


@click.command()
@click.argument("message_id", required=False)
@click.argument("destination", required=False)
@click.option("--offset", type=click.IntRange(min=1), help="Where the event lies or lay in the log, for its id.")
@json_option
@system_options
def explain(
    message_id: str | None,
    destination: str | None,
    offset: int | None,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Tell what happened to an event at each destination, and why; works on a stopped system too.

    With DESTINATION the whole story of that one: what it requires, what the event said, what the ledger knew, what was
    decided when, and what became of it. An event that the log has let go of is found by its --offset. What is known of
    destinations that are no longer configured is told too, and marked.
    An event that was sent again is not stored again: what is told is the story of the first one.
    """
    if offset is not None:
        if destination is not None:
            raise click.UsageError("name the event by its id or by --offset, not by both")
        message_id, destination = None, message_id
    elif not message_id:  # what was erased has an empty one
        raise click.UsageError("name the event by its message id, or by --offset")
    where = find_data_dir(config_path, data_dir)
    if not where.event_log.exists():
        raise Refused(f"{where.root} has no event log; name the data directory with --data-dir")
    config = find_config(config_path, data_dir) or kept_embedded_config(where.root)
    if config is None:
        raise click.UsageError("name the configuration with --config: it says what the destinations require")
    if destination is not None and destination not in (*config.destinations, *_removed(config, where)):
        hint = did_you_mean(destination, config.destinations)
        raise Refused(f"there is no destination {destination!r}; {hint}")
    found = _told(message_id, offset, destination, config, where)
    if not found:
        raise Refused(_unknown(message_id, where))
    if as_json:
        click.echo(json.dumps({"messageId": message_id, "events": [_as_json(one) for one in found]}))
    elif destination is not None:
        for one in found:
            _print_story(one)
    else:
        for one in found:
            _print_table(one)


def _told(
    message_id: str | None, offset: int | None, destination: str | None, config: Config, where: DataDir
) -> list[_Told]:
    log = SqliteLog(where.event_log, create=False, reader="explain")
    registry = Registry(where.control, create=False)
    fates = None
    try:
        head = log.head()
        fates = Fates(config, where, registry.all(), head)
        events = _events(log, message_id, offset, config, where, head)
        return [_Told(at, event, _fates(fates, at, event, destination, config, where)) for at, event in events.items()]
    finally:
        if fates is not None:
            fates.close()
        registry.close()
        log.close()


def _fates(
    fates: Fates, at: int, event: StoredEvent | None, destination: str | None, config: Config, where: DataDir
) -> list[Fate]:
    """At the chosen destination, or at all; of those that are no longer configured, where anything became of it."""
    chosen = [one for name, one in config.destinations.items() if destination in (None, name)]
    others = [fates.of_removed(one, at, event) for one in _removed(config, where) if destination in (None, one)]
    return [
        *(fates.of(one, at, event) for one in chosen),
        *(fate for fate in others if fate.says_something or destination),
    ]


def _removed(config: Config, where: DataDir) -> list[str]:
    return removed(config, where, registrations(where) if where.control.exists() else ())


def _events(
    log: SqliteLog, message_id: str | None, offset: int | None, config: Config, where: DataDir, head: int
) -> dict[int, StoredEvent | None]:
    if offset is not None:
        if offset > head:
            raise Refused(f"there is no event {offset} yet; the newest is {head}")
        return {offset: event_at(log, offset)}
    assert message_id is not None
    found: dict[int, StoredEvent | None] = {event.offset: event for event in find_events(log, message_id)}
    for at in offsets_of_letters([*config.destinations, *_removed(config, where)], where, message_id):
        found.setdefault(at, None)
    return found


def _unknown(message_id: str | None, where: DataDir) -> str:
    text = (
        f"no event {message_id} in {where.event_log}: never accepted, or older than the log's retention; "
        "decisions are kept by offset: `sluicegate explain --offset N`"
    )
    damages = Quarantine(where.root).all()
    if not damages:
        return text
    return (
        f"{text}; or one of the {n_lost(damages)} events that were damaged in the log (`sluicegate fsck` shows which)"
    )


def _print_table(one: _Told) -> None:
    table = table_of("destination", "outcome", "why", title=_title(one))
    for fate in one.fates:
        decision = "" if fate.decision is None or fate.decision == fate.outcome else f" ({fate.decision})"
        outcome = f"{fate.outcome}{decision}".replace("_", " ")
        table.add_row(fate.destination, outcome, cell(why(fate, one.event)))
    Console().print(table)


def _print_story(one: _Told) -> None:
    click.echo(_title(one))
    for fate in one.fates:
        for sentence in story(fate, one.event):
            begin = sentence if sentence.startswith(fate.destination) else sentence[:1].upper() + sentence[1:]
            click.echo(f"  {printable(begin)}.")


def _title(one: _Told) -> str:
    if one.event is None:
        return f"event {one.offset}: gone from the log"
    return f"{one.event.combo.type} (event {one.offset}) received {time_text(one.event.received_at_ms)}"


def _as_json(one: _Told) -> dict[str, Any]:
    fates = [as_json(fate, one.event) for fate in one.fates]
    if one.event is None:
        return {"offset": one.offset, "gone": True, "destinations": fates}
    event = one.event
    return {
        "offset": event.offset,
        "gone": False,
        "messageId": event.message_id,
        "type": event.combo.type,
        "source": event.combo.source,
        "receivedAt": time_text(event.received_at_ms),
        "timestamp": time_text(event.time_ms),
        "consent": dict(event.combo.stamp),
        "destinations": fates,
    }
