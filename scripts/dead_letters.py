"""The `dead-letters` commands: look at what a destination could not deliver, replay it, or drop it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sluicegate.config.units import parse_duration_s
from sluicegate.delivery.letters import DeadLetter, LetterFilter
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import NotRunning, Refused
from sluicegate.messages.control import LoadBatch
from sluicegate.paths import DataDir
from sluicegate.scripts.options import connect, find_data_dir, json_option, system_options

CHUNK = 500


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that a destination refused for good: list, show, replay, drop."""


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """The filters that all these commands share; the command gets `destination` and `chosen`."""

    @functools.wraps(command)
    def filtered(*, reason: str | None, since: str | None, until: str | None, **options: Any) -> None:
        chosen = LetterFilter(reason=reason, since_ms=_moment_ms(since), until_ms=_moment_ms(until))
        command(chosen=chosen, **options)

    for option in (
        click.option("--until", help="Entered before: 2026-01-31T12:00, or an age such as 2h."),
        click.option("--since", help="Entered at or after: 2026-01-31T12:00, or an age such as 2h."),
        click.option("--reason", help="Only those whose reason contains this text."),
        click.option("--destination", help="Only this destination's."),
    ):
        filtered = option(filtered)
    return filtered


@dead_letters.command("list")
@filter_options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
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
    for name, store in _stores(find_data_dir(config_path, data_dir), destination):
        rows += [(name, letter) for letter in store.letters.list(chosen, limit=limit - len(rows))]
    if as_json:
        click.echo(json.dumps([_summary(name, letter) for name, letter in rows]))
        return
    table = Table("destination", "id", "message id", "type", "entered", "attempts", "reason")
    for name, letter in rows:
        entered = _time(letter.entered_at_ms)
        table.add_row(
            name, str(letter.id), letter.message_id, letter.type, entered, str(letter.attempts), letter.reason
        )
    Console().print(table if rows else "no dead letters")


@dead_letters.command("show")
@click.argument("destination")
@click.argument("id", type=int)
@system_options
def show_letter(destination: str, id: int, config_path: Path | None, data_dir: Path | None) -> None:
    """Print one dead letter with its event, as JSON."""
    for name, store in _stores(find_data_dir(config_path, data_dir), destination):
        letter = store.letters.show(id)
        if letter is None:
            raise Refused(f"{destination} has no dead letter {id}")
        event = msgspec.json.decode(letter.event) if letter.event else None
        click.echo(json.dumps({**_summary(name, letter), **_details(letter), "event": event}, indent=2))


@dead_letters.command("replay")
@filter_options
@click.option("--dry-run", is_flag=True, help="Only count.")
@system_options
def replay(
    destination: str | None, chosen: LetterFilter, dry_run: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """Deliver dead letters again, as far as consent still allows."""
    where = find_data_dir(config_path, data_dir)
    if not dry_run:
        with connect(config_path, data_dir):
            pass  # replays need the running system: say so before anything is marked
    touched = _change(
        where, destination, chosen, "replaying", dry_run, lambda s, f: s.letters.mark_replay(f, limit=CHUNK)
    )
    if touched and not dry_run:
        with connect(config_path, data_dir) as client:
            client.ask_supervisor(LoadBatch(f"replay-{time.time_ns()}", tuple(touched)), timeout_s=120)


@dead_letters.command("drop")
@filter_options
@click.option("--dry-run", is_flag=True, help="Only count.")
@system_options
def drop(
    destination: str | None, chosen: LetterFilter, dry_run: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """Forget dead letters; they stay counted as dead."""
    where = find_data_dir(config_path, data_dir)
    _change(where, destination, chosen, "dropping", dry_run, lambda s, f: s.letters.drop(f, limit=CHUNK))


def _change(
    where: DataDir,
    destination: str | None,
    chosen: LetterFilter,
    verb: str,
    dry_run: bool,
    change: Callable[[DestinationStore, LetterFilter], int],
) -> list[str]:
    """Count what is meant, then change it in chunks under a progress bar; the destinations that were touched."""
    counts = {name: store.letters.count(chosen) for name, store in _stores(where, destination)}
    total = sum(counts.values())
    for name, count in counts.items():
        if count:
            click.echo(f"{name}: {count}")
    click.echo(f"{total} dead letters" + (" (dry run, nothing changed)" if dry_run else ""))
    if dry_run or not total:
        return []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(verb, total=total)
        for _, store in _stores(where, destination):
            while done := change(store, chosen):
                progress.advance(bar, done)
    return [name for name, count in counts.items() if count]


@contextmanager
def _opened(path: Path) -> Iterator[DestinationStore]:
    store = DestinationStore.open(path, start=0)
    try:
        yield store
    finally:
        store.close()


def _stores(where: DataDir, destination: str | None) -> Iterator[tuple[str, DestinationStore]]:
    """The stores that are meant, opened one at a time; raises `Refused` for a destination that has none."""
    if not where.root.is_dir():
        raise NotRunning(f"{where.root} does not exist; name the data directory with --data-dir")
    paths = {path.stem: path for path in sorted(where.stores.glob("*.db"))}
    if destination is not None and destination not in paths:
        raise Refused(f"{destination} has no dead letters: nothing was ever delivered to it")
    for name, path in paths.items():
        if destination in (None, name):
            with _opened(path) as store:
                yield name, store


def _moment_ms(text: str | None) -> int | None:
    """An ISO 8601 time, or an age before now, in Unix milliseconds."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        pass
    try:
        return int((time.time() - parse_duration_s(text)) * 1000)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a time such as 2026-01-31T12:00 nor an age such as 2h") from None


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
