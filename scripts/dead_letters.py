"""The `dead-letters` commands: look at what a destination could not deliver; `letter_changes` replays and drops it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from sluicegate.delivery.letters import DeadLetter, LetterFilter, LetterStatus
from sluicegate.errors import Refused
from sluicegate.scripts.letter_changes import drop, replay
from sluicegate.scripts.letter_options import filter_options, stores
from sluicegate.scripts.options import AT_LEAST_ONE, find_data_dir, json_option, system_options
from sluicegate.scripts.tables import cell

_STATUSES = {LetterStatus.REPLAY: "waits for its replay", LetterStatus.DROPPED: "dropped"}


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that a destination refused for good: list, show, replay, drop."""


dead_letters.add_command(replay)
dead_letters.add_command(drop)


@dead_letters.command("list")
@filter_options
@click.option("--limit", default=100, show_default=True, type=AT_LEAST_ONE, help="How many at most.")
@json_option
@system_options
def list_letters(
    destination: str | None,
    chosen: LetterFilter,
    limit: int,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """List dead letters, oldest first."""
    rows: list[tuple[str, DeadLetter]] = []
    for name, store in stores(find_data_dir(config_path, data_dir), destination):
        rows += [(name, letter) for letter in store.letters.list(chosen, limit=limit)]
    rows = sorted(rows, key=lambda row: row[1].entered_at_ms)[:limit]
    if as_json:
        click.echo(json.dumps([_summary(name, letter) for name, letter in rows]))
        return
    Console().print(_table(rows) if rows else "no dead letters")


def _table(rows: list[tuple[str, DeadLetter]]) -> Table:
    """Readable in 80 columns: what does not fit beside the others goes below the message id."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("destination", overflow="fold", min_width=11, max_width=16)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("entered (UTC)", no_wrap=True)
    table.add_column("message id; what it is and why it is dead", overflow="fold", ratio=1)
    for name, letter in rows:
        entered = datetime.fromtimestamp(letter.entered_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        attempts = f"{letter.attempts} attempt{'s' * (letter.attempts != 1)}"
        status = "" if letter.status is LetterStatus.DEAD else f" ({_STATUSES[letter.status]})"
        what = f"{cell(letter.message_id)}\n{letter.type}, {attempts}{status}: {cell(letter.reason)}"
        table.add_row(name, str(letter.id), entered, what)
    return table


@dead_letters.command("show")
@click.argument("destination")
@click.argument("id", type=AT_LEAST_ONE)
@json_option
@system_options
def show_letter(destination: str, id: int, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Print one dead letter with its event, always as JSON."""
    for name, store in stores(find_data_dir(config_path, data_dir), destination):
        letter = store.letters.show(id)
        if letter is None:
            raise Refused(f"{destination} has no dead letter {id}")
        event = msgspec.json.decode(letter.event) if letter.event else None
        click.echo(json.dumps({**_summary(name, letter), **_details(letter), "event": event}, indent=2))


def _summary(name: str, letter: DeadLetter) -> dict[str, Any]:
    return {
        "destination": name,
        "id": letter.id,
        "status": letter.status,
        "messageId": letter.message_id,
        "type": letter.type,
        "offset": letter.offset,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "firstAttemptAt": _time(letter.first_attempt_at_ms),
        "lastAttemptAt": _time(letter.last_attempt_at_ms),
        "enteredAt": _time(letter.entered_at_ms),
        "configHash": letter.config_hash or None,
        "ledgerVersion": letter.ledger_version if letter.config_hash else None,
    }


def _details(letter: DeadLetter) -> dict[str, Any]:
    return {
        "stage": letter.stage,
        "firstError": letter.first_error or letter.reason,
        "httpStatus": letter.http_status,
        "response": letter.response,
        "epoch": letter.epoch,
    }


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
