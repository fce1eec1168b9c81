"""The `consent` commands: what the ledger knows of a person, and telling it more. They work on a stopped system too."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sluicegate.config import Config
from sluicegate.config.model import ConsentConfig, PurposesConfig
from sluicegate.config.problems import did_you_mean
from sluicegate.consent.evidence import Evidence, Told, Writes, decision, withdrawal
from sluicegate.consent.history import history as history_of
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.moment import read_moment_ms
from sluicegate.consent.policy import Policies
from sluicegate.consent.requirement import NECESSARY
from sluicegate.consent.slots import Purposes, Slot, Slots, is_denial, time_of
from sluicegate.consent.standing import NO_STANDINGS, Rules, Standings
from sluicegate.consent.subject import MAX_ID_LENGTH, Subject, is_id
from sluicegate.consent.view import LedgerView
from sluicegate.delivery.deciding import wait_until_seen
from sluicegate.errors import Refused
from sluicegate.paths import DataDir
from sluicegate.scripts.consent_dry_run import dry_run
from sluicegate.scripts.consent_notice import tell_listeners
from sluicegate.scripts.options import (
    AT_LEAST_ONE,
    find_config,
    find_data_dir,
    json_option,
    require_system,
    system_options,
)
from sluicegate.scripts.tables import cell, table_of

MAX_SHOWN = 100
_UNCHANGED = "nothing changed: it is known, newer is known, or the person is suppressed"


@click.group("consent")
def consent() -> None:
    """What people consented to: show, set, withdraw, history; and dry-run, what another requirement would mean."""


consent.add_command(dry_run)


def subject_options(command: Callable[..., None]) -> Callable[..., None]:
    """Whose consent is meant; at least one of the two."""
    for option in (
        click.option("--anonymous-id", help="The visitor's anonymous id."),
        click.option("--user-id", help="The user's id."),
    ):
        command = option(command)
    return command


@consent.command("show")
@subject_options
@json_option
@system_options
def show(
    user_id: str | None, anonymous_id: str | None, as_json: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """How a person stands on each purpose, and on what evidence."""
    subject = _subject(user_id, anonymous_id)
    where, config = _system(config_path, data_dir)
    _require_ledger(where)
    view = LedgerView(where.consent, where.consent_key, Rules.of(_consent_config(config)))
    try:
        known = view.of(subject)
        gpc = Policies(_consent_config(config)).of().honors_gpc
        standings = known.standings(gpc=gpc, now_ms=_now_ms())
        version = view.version
    finally:
        view.close()
    if as_json:
        click.echo(json.dumps({"version": version, "purposes": _as_json(known.slots, standings)}))
        return
    if standings is NO_STANDINGS:
        click.echo("nothing is known: undecided on every purpose")
        return
    table = table_of("purpose", "state", "since", "evidence")
    for purpose, slots in sorted(known.slots.items()):
        standing = standings.of(purpose)
        table.add_row(cell(purpose), standing.state, _time(standing.as_of_ms), _evidence(slots))
    Console().print(table)


@consent.command("set")
@subject_options
@click.option("--grant", "granted", multiple=True, metavar="PURPOSE", help="May be given several times.")
@click.option("--deny", "denied", multiple=True, metavar="PURPOSE", help="May be given several times.")
@click.option("--at", "decided_at", help="When the person decided, such as 2026-01-31T12:00Z; now when left out.")
@json_option
@system_options
def set_consent(
    user_id: str | None,
    anonymous_id: str | None,
    granted: tuple[str, ...],
    denied: tuple[str, ...],
    decided_at: str | None,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Record what a person decided, for example on paper or by phone."""
    subject = _subject(user_id, anonymous_id)
    where, config = _system(config_path, data_dir)
    purposes = _purposes(config)
    decided = dict.fromkeys(_known(granted, purposes), True) | dict.fromkeys(_known(denied, purposes), False)
    if not decided:
        raise click.UsageError("name at least one purpose with --grant or --deny")
    now_ms = _now_ms()
    writes = decision(decided, _moment_ms(decided_at, now_ms), received_ms=now_ms)
    _record(where, config, subject, writes, now_ms=now_ms, as_json=as_json)


@consent.command("withdraw")
@subject_options
@click.argument("purposes", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every purpose but necessary.")
@json_option
@system_options
def withdraw(
    user_id: str | None,
    anonymous_id: str | None,
    purposes: tuple[str, ...],
    everything: bool,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Deny PURPOSES for a person until that person decides anew; undated stamps on events do not end it."""
    subject = _subject(user_id, anonymous_id)
    where, config = _system(config_path, data_dir)
    known = _purposes(config)
    if everything == bool(purposes):
        raise click.UsageError("name the purposes to withdraw, or all of them with --all")
    names = tuple(name for name in known.stored if name != NECESSARY) if everything else _known(purposes, known)
    now_ms = _now_ms()
    _record(where, config, subject, withdrawal(names, at_ms=now_ms), now_ms=now_ms, as_json=as_json)


@consent.command("history")
@subject_options
@click.option("--limit", default=MAX_SHOWN, show_default=True, type=AT_LEAST_ONE, help="How many at most.")
@json_option
@system_options
def history(
    user_id: str | None,
    anonymous_id: str | None,
    limit: int,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Who said what when, the newest first."""
    subject = _subject(user_id, anonymous_id)
    where, _ = _system(config_path, data_dir)
    _require_ledger(where)
    with _opened(where, PurposesConfig(), create=False) as ledger:
        changes = history_of(ledger, subject)[:limit]
    if as_json:
        rows = [
            {
                "version": change.version,
                "recordedAt": _time(change.recorded_at_ms),
                "evidence": change.evidence.name.lower(),
                "source": change.source,
                "said": {purpose: _marks(slots) for purpose, slots in change.said.items()},
            }
            for change in changes
        ]
        click.echo(json.dumps(rows))
        return
    table = table_of("version", "recorded", "evidence", "source", "said")
    for change in changes:
        said = ", ".join(f"{purpose}: {_evidence(slots)}" for purpose, slots in change.said.items())
        evidence = change.evidence.name.lower().replace("_", " ")
        text = said or ("linked with another id" if change.other else "")
        table.add_row(str(change.version), _time(change.recorded_at_ms), evidence, cell(change.source), cell(text))
    Console().print(table if changes else "nothing was ever told")


def _record(
    where: DataDir, config: Config | None, subject: Subject, writes: Writes, *, now_ms: int, as_json: bool
) -> None:
    require_system(where)
    told = Told(subject, writes, Evidence.OPERATOR, f"cli:{_who()}")
    with _opened(where, _purposes(config), create=True) as ledger:
        recorded = ledger.record([told], now_ms=now_ms)
    tell_listeners(where, config, told, now_ms=now_ms)
    late = wait_until_seen(where.stores).late
    if as_json:
        found = {"changed": bool(recorded.changed), "version": recorded.version, "unconfirmed": list(late)}
        click.echo(json.dumps(found))
    else:
        outcome = "recorded" if recorded.changed else _UNCHANGED
        click.echo(f"{outcome}; ledger version {recorded.version}")
    if late:
        raise Refused(f"not confirmed by {', '.join(late)}: it may still send what it had decided on; say it again")


def _who() -> str:
    """Who gives this command: a name, or a number where the system has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def _opened(where: DataDir, purposes: PurposesConfig, *, create: bool) -> Iterator[Ledger]:
    ledger = Ledger(where.consent, where.consent_key, create=create, purposes=purposes.stored if create else ())
    try:
        yield ledger
    finally:
        ledger.close()


def _system(config_path: Path | None, data_dir: Path | None) -> tuple[DataDir, Config | None]:
    return find_data_dir(config_path, data_dir), find_config(config_path, data_dir)


def _consent_config(config: Config | None) -> ConsentConfig:
    return config.consent if config else ConsentConfig()


def _purposes(config: Config | None) -> PurposesConfig:
    return config.purposes if config else PurposesConfig()


def _require_ledger(where: DataDir) -> None:
    if not where.consent.exists():
        raise Refused(f"{where.root} has no consent ledger; name the data directory with --data-dir")


def _subject(user_id: str | None, anonymous_id: str | None) -> Subject:
    subject = Subject(user_id, anonymous_id)
    if subject.is_nobody:
        raise click.UsageError("say whose consent: --user-id, --anonymous-id, or both")
    if not all(one is None or is_id(one) for one in subject):
        raise click.UsageError(f"--user-id and --anonymous-id are texts in UTF-8 of at most {MAX_ID_LENGTH} characters")
    return subject


def _known(names: tuple[str, ...], purposes: PurposesConfig) -> tuple[str, ...]:
    """The purposes that these names stand for; raises for one that nobody has defined."""
    found = tuple(map(purposes.resolve, names))
    for name in found:
        if name == NECESSARY or name not in purposes.stored:
            hint = did_you_mean(name, [known for known in purposes.stored if known != NECESSARY])
            raise click.BadParameter(f"{name!r} is no purpose that can be decided; {hint}")
    return found


def _moment_ms(text: str | None, now_ms: int) -> int:
    ms = now_ms if text is None else read_moment_ms(text)
    if ms is None:
        raise click.BadParameter(f"{text!r} is not a time such as 2026-01-31T12:00Z", param_hint="--at")
    return ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _as_json(known: Purposes, standings: Standings) -> dict[str, Any]:
    found = {}
    for purpose, slots in sorted(known.items()):
        standing = standings.of(purpose)
        since = _time(standing.as_of_ms) or None
        found[purpose] = {"state": standing.state, "since": since, "slots": _marks(slots)}
    return found


def _marks(slots: Slots) -> dict[str, Any]:
    marks = {slot.name.lower(): slots[slot] for slot in Slot}
    return {
        name: {"granted": not is_denial(mark), "at": _time(time_of(mark))}
        for name, mark in marks.items()
        if isinstance(mark, int) and mark
    }


def _evidence(slots: Slots) -> str:
    """The marks in words: `decided granted 2026-01-31T12:00:00.000+00:00`."""
    return "; ".join(
        f"{name} {'granted' if mark['granted'] else 'denied'} {mark['at']}" for name, mark in _marks(slots).items()
    )


def _time(unix_ms: int) -> str:
    if not unix_ms:
        return ""
    try:
        return datetime.fromtimestamp(unix_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return str(unix_ms)
