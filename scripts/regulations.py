"""The commands `erase`, `suppress`, `unsuppress` and `regulations`: people who want to be forgotten or left alone.

They work whether the system runs or not. While it runs, it does the erasing and the command watches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind, Regulation, SubjectKind, newest
from sluicegate.consent.regulation_call import checked_ids
from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.delivery.erasing import Report
from sluicegate.delivery.regulating import count_traces, described, erase_now, find, overall_status, put_in_force
from sluicegate.errors import NotRunning, Refused
from sluicegate.lock import holder
from sluicegate.paths import DataDir
from sluicegate.scripts.bars import bars
from sluicegate.scripts.options import AT_LEAST_ONE, find_data_dir, json_option, require_system, system_options
from sluicegate.scripts.tables import table_of

LOOK_EVERY_S = 0.2
MAX_SHOWN = 100

Whose = tuple[SubjectKind, tuple[str, ...]]


def subject_options(command: Callable[..., None]) -> Callable[..., None]:
    """Who is meant: ids of one of the two kinds."""
    for option in (
        click.option("--anonymous-id", "anonymous_ids", multiple=True, help="A visitor; may be given several times."),
        click.option("--user-id", "user_ids", multiple=True, help="A user with all devices; may be given many times."),
    ):
        command = option(command)
    return command


@click.command()
@subject_options
@click.option("--delete-only", is_flag=True, help="Take what these people send from now on.")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--no-wait", is_flag=True, help="Leave the erasing to the system, which must run.")
@json_option
@system_options
def erase(
    user_ids: tuple[str, ...],
    anonymous_ids: tuple[str, ...],
    delete_only: bool,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Erase people from all files of the system, and suppress them: nothing of them is taken any more."""
    whose, where = _whose(user_ids, anonymous_ids), _existing(config_path, data_dir)
    if dry_run:
        _show_count(where, whose, as_json=as_json)
        return
    if no_wait and holder(where.lock) is None:
        raise NotRunning(f"nothing runs on {where.root} that could erase; leave out --no-wait")
    asked = put_in_force(where, Kind.DELETE_ONLY if delete_only else Kind.SUPPRESS_WITH_DELETE, *whose).regulation
    if not no_wait:
        asked = _watched(where, asked, as_json=as_json)
    _show(asked, as_json=as_json)
    _require_confirmed(where)


def _standing_order(name: str, kind: Kind, help_text: str) -> click.Command:
    """A command that puts a regulation in force, and has nothing to erase."""

    @click.command(name, help=help_text)
    @subject_options
    @json_option
    @system_options
    def command(
        user_ids: tuple[str, ...],
        anonymous_ids: tuple[str, ...],
        as_json: bool,
        config_path: Path | None,
        data_dir: Path | None,
    ) -> None:
        whose, where = _whose(user_ids, anonymous_ids), _existing(config_path, data_dir)
        _show(put_in_force(where, kind, *whose).regulation, as_json=as_json)
        _require_confirmed(where)

    return command


suppress = _standing_order(
    "suppress",
    Kind.SUPPRESS_ONLY,
    "Take nothing of these people any more, and deliver nothing; what is stored stays.",
)
unsuppress = _standing_order(
    "unsuppress",
    Kind.UNSUPPRESS,
    "Take events of these people again; their consent begins anew, and what was erased stays so.",
)


@click.command()
@click.argument("id", required=False)
@click.option("--limit", default=MAX_SHOWN, show_default=True, type=AT_LEAST_ONE, help="How many at most.")
@json_option
@system_options
def regulations(id: str | None, limit: int, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """How what was asked with erase, suppress and unsuppress stands: the newest, or the one of this ID."""
    where = _existing(config_path, data_dir)
    if id is not None:
        regulation = find(where, id)
        if regulation is None:
            raise Refused(f"{where.root} knows no regulation {id}; see `sluicegate regulations`")
        _show(regulation, as_json=as_json)
        return
    found = _newest(where, limit)
    if as_json:
        click.echo(json.dumps([described(one) for one in found]))
        return
    table = table_of("id", "type", "subjects", "asked", "status", "finished", unbroken="id")
    for shown in map(described, found):
        row = (shown[name] for name in ("id", "regulationType", "subjects", "createdAt", "overallStatus", "finishedAt"))
        table.add_row(*("" if value is None else str(value) for value in row))
    Console().print(table if found else "nobody was ever erased or suppressed")


def _newest(where: DataDir, limit: int) -> list[Regulation]:
    if not where.consent.exists():
        return []
    ledger = Ledger(where.consent, where.consent_key, create=False)
    try:
        return newest(ledger, limit=limit)
    finally:
        ledger.close()


def _watched(where: DataDir, asked: Regulation, *, as_json: bool) -> Regulation:
    """The regulation when it is finished, by the system that runs, or else by this process."""
    with bars(as_json=as_json) as progress:
        bar = progress.add_task("erasing", total=None)
        while True:
            found = find(where, asked.id)
            if found is None or found.finished_at_ms:
                return found or asked
            if holder(where.lock) is None:
                if erase_now(where, progress=lambda done, total: progress.update(bar, completed=done, total=total)):
                    continue
            else:
                looked_at = Report.of(found.report).looked_at
                progress.update(bar, completed=looked_at, total=max(found.head, looked_at, 1))
            time.sleep(LOOK_EVERY_S)


def _show_count(where: DataDir, whose: Whose, *, as_json: bool) -> None:
    with bars(as_json=as_json) as progress:
        bar = progress.add_task("looking", total=None)
        found = count_traces(
            where, *whose, progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )
    if as_json:
        counts = asdict(found)
        click.echo(json.dumps({name: counts[name] for name in ("events", "letters", "unreadable")}))
        return
    click.echo(f"{found.events} events and {found.letters} dead letters (dry run, nothing changed)")
    _warn_of_unreadable(found)


def _show(regulation: Regulation, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(described(regulation)))
        return
    report = Report.of(regulation.report)
    click.echo(f"regulation {regulation.id}: {regulation.kind}, {overall_status(regulation)}")
    if regulation.kind.deletes and regulation.finished_at_ms:
        click.echo(_erased(regulation, report))
        for name, status in sorted(report.destinations.items()):
            if status == "NOT_SUPPORTED":
                click.echo(f"  {name}: has got events before, and cannot delete them; ask the vendor")
        _warn_of_unreadable(report)
    elif regulation.kind.deletes:
        click.echo("in force; the system erases, see `sluicegate regulations`")
    else:
        click.echo(f"{regulation.changed} ids changed" if regulation.changed else "it was so before: nothing changed")


def _erased(regulation: Regulation, report: Report) -> str:
    counts: dict[str, Any] = {
        "events": report.events,
        "dead letters": report.letters,
        "words of log files": report.words,
        "copies of damaged files": report.files,
    }
    if not regulation.changed and not any(counts.values()):
        return "nothing was left to erase: they were erased before, or never seen"
    return "erased: " + ", ".join(f"{n} {what}" for what, n in counts.items())


def _warn_of_unreadable(report: Report) -> None:
    for first, last in report.unreadable:
        click.echo(f"  events {first} to {last} are damaged, and may be theirs; see `sluicegate fsck`", err=True)


def _require_confirmed(where: DataDir) -> None:
    late = wait_until_seen(where.stores).late
    if late:
        raise Refused(f"not confirmed by {', '.join(late)}: it may still send what it had decided on")


def _whose(user_ids: tuple[str, ...], anonymous_ids: tuple[str, ...]) -> Whose:
    if bool(user_ids) == bool(anonymous_ids):
        raise click.UsageError("say who, with --user-id or with --anonymous-id")
    if user_ids:
        return SubjectKind.USER_ID, checked_ids(user_ids)
    return SubjectKind.ANONYMOUS_ID, checked_ids(anonymous_ids)


def _existing(config_path: Path | None, data_dir: Path | None) -> DataDir:
    where = find_data_dir(config_path, data_dir)
    require_system(where)
    return where
