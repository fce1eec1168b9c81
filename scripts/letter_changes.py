"""The commands `dead-letters replay` and `dead-letters drop`: count what is meant, then change it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from sluicegate.delivery.letters import LetterFilter
from sluicegate.errors import Refused
from sluicegate.paths import DataDir
from sluicegate.scripts.bars import bars
from sluicegate.scripts.letter_options import filter_options, stores
from sluicegate.scripts.options import Seconds, connect, find_data_dir, json_option, system_options
from sluicegate.scripts.replaying import Replay, Replays, in_chunks, outcome_text


@click.command("replay")
@filter_options
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option(
    "--timeout",
    "timeout_s",
    default=10.0,
    show_default=True,
    type=Seconds(min=0),
    help="Seconds to wait for the outcome once the destinations are loaded.",
)
@json_option
@system_options
def replay(
    destination: str | None,
    chosen: LetterFilter,
    dry_run: bool,
    timeout_s: float,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Deliver dead letters again, as far as consent still allows, and tell how that ended.

    What has not ended in time goes on by itself. Exit code 1 when a destination cannot be loaded: its letters wait
    until it is.
    """
    where = find_data_dir(config_path, data_dir)
    if dry_run:
        _show_counts(_counted(where, destination, chosen), as_json=as_json, dry_run=True)
        return
    with connect(config_path, data_dir) as client:  # before anything is marked: without a running system nothing is
        counts = _counted(where, destination, chosen)
        if not as_json:
            _show_counts(counts, as_json=False, dry_run=False)
        with (
            Replays(where, list(counts), chosen) as replays,
            _bar("replaying", replays.total, as_json=as_json) as advance,
        ):
            replays.mark()
            found = replays.watch(client, timeout_s=timeout_s, progress=advance)
    _show_replays(found, as_json=as_json)


@click.command("drop")
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every dead letter of every destination.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
@system_options
def drop(
    destination: str | None,
    chosen: LetterFilter,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Forget dead letters; they stay counted as dead. There is no way back."""
    is_filtered = destination is not None or chosen != LetterFilter()
    if everything and is_filtered:
        raise click.UsageError("choose either some letters by a filter, or --all")
    if not (everything or is_filtered or dry_run):
        raise click.UsageError("say which: --destination, --reason, --since or --until; or all of them with --all")
    where = find_data_dir(config_path, data_dir)
    counts = _counted(where, destination, chosen)
    _show_counts(counts, as_json=as_json, dry_run=dry_run)
    if not dry_run:
        with _bar("dropping", sum(counts.values()), as_json=as_json) as advance:
            _drop(where, counts, chosen, advance)


def _counted(where: DataDir, destination: str | None, chosen: LetterFilter) -> dict[str, int]:
    """How many are meant, of the destinations that have any."""
    counts = {name: store.letters.count(chosen) for name, store in stores(where, destination)}
    return {name: count for name, count in counts.items() if count}


def _show_counts(counts: Mapping[str, int], *, as_json: bool, dry_run: bool) -> None:
    total = sum(counts.values())
    if as_json:
        rows = [{"id": name, "letters": count} for name, count in counts.items()]
        click.echo(json.dumps({"dry_run": dry_run, "total": total, "destinations": rows}))
        return
    for name, count in counts.items():
        click.echo(f"{name}: {count}")
    click.echo(f"{total} dead letters" + (" (dry run, nothing changed)" if dry_run else ""))


def _show_replays(found: list[Replay], *, as_json: bool) -> None:
    if as_json:
        total = sum(one.letters for one in found)
        click.echo(json.dumps({"dry_run": False, "total": total, "destinations": [asdict(one) for one in found]}))
    else:
        for one in found:
            click.echo(f"{one.id}: {outcome_text(one)}")
    failed = [one.id for one in found if one.error is not None]
    if failed:
        raise Refused(f"not replayed, because it is not loaded: {', '.join(failed)}; the letters wait until it is")


def _drop(where: DataDir, names: Iterable[str], chosen: LetterFilter, advance: Callable[[int], None]) -> None:
    """Drop what is meant now, in chunks, so that the destinations can write in between."""
    for name in names:
        for _, store in stores(where, name):
            for some in in_chunks(store.letters.offsets(chosen)):
                advance(store.letters.drop(some))


@contextmanager
def _bar(what: str, total: int, *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar, as the function that advances it."""
    with bars(as_json=as_json) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda count: progress.advance(bar, count)
