"""How destinations look to a person, in tables, and to a program, in JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from sluicegate.logs import printable
from sluicegate.messages.status import DestinationStatus, Stats, Statuses

_COLOURS = {
    "loaded": "green",
    "loading": "yellow",
    "draining": "yellow",
    "backing_off": "red",
    "quarantined": "bold red",
    "failed": "bold red",
    "paused": "magenta",
}

ACCOUNTS = ("accepted", "delivered", "pending", "held", "dead", "denied", "expired")

_MOMENTS = ("last_attempt", "next_attempt_at", "loaded_at", "last_used")
"""The fields that are times."""

_ALWAYS = ("accepted", "delivered", "pending", "denied")


def cell(text: str) -> str:
    """A text that others have chosen, for a table: shown as it is, and never obeyed."""
    return escape(printable(text))


def table_of(*names: str, title: str | None = None, unbroken: str = "") -> Table:
    """A table that shows its cells in full: in several lines where room is short, except in the column `unbroken`."""
    return Table(*(Column(name, overflow="fold", no_wrap=name == unbroken) for name in names), title=title)


def status_table(
    destinations: Iterable[DestinationStatus], *, title: str | None = None, n_suppressed: int = 0
) -> RenderableType:
    """One line a destination: its state and accounts, in 80 columns; below, what is wrong with which.

    Last, how many events of suppressed people were left out: they are in nobody's accounts.
    Accounts that are zero everywhere are left out, except those that nearly every system has.
    """
    shown = list(destinations)
    accounts = [name for name in ACCOUNTS if name in _ALWAYS or any(getattr(one, name) for one in shown)]
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("destination", overflow="fold", min_width=11)
    table.add_column("state", no_wrap=True)
    for heading in accounts:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in shown:
        state = Text(one.state, style=_COLOURS.get(one.state, ""))
        table.add_row(one.id, state, *(_count(getattr(one, name)) for name in accounts))
    notes = [f"{one.id}: {note}" for one in shown if (note := _note(one))]
    if n_suppressed:
        notes.append(f"suppressed: {n_suppressed:,} events of suppressed people were not taken")
    return Group(table, *(Text(f" {note}") for note in notes))


def _count(count: int) -> str:
    return f"{count:,}" if count < 10_000_000 else f"{count / 1e6:,.1f}M"


def _note(one: DestinationStatus) -> str:
    parts = [text for text in (one.reason, one.error) if text]
    if one.next_attempt_at is not None:
        parts.append(f"next attempt in {max(0.0, one.next_attempt_at - time.time()):.0f} s")
    if one.lag_seconds > 1:
        parts.append(f"{one.lag_seconds:.0f} s behind")
    if one.redacted:
        parts.append(f"{one.redacted:,} of those delivered went redacted")
    parts += [f"{count:,} expired: {reason}" for reason, count in sorted((one.expired_by or {}).items())]
    return "; ".join(dict.fromkeys(parts))


def detail_table(one: DestinationStatus) -> Table:
    """All there is to know of one destination, a line each."""
    table = Table(show_header=False, title=one.id)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    now_s = time.time()
    for name, value in as_json(one).items():
        table.add_row(name, escape(_moment(value, now_s) if name in _MOMENTS else _readable(value)))
    return table


def _moment(unix_s: float | None, now_s: float) -> str:
    """A time and how far away it is: `2026-01-31 12:00:00 UTC (5 s ago)`."""
    if unix_s is None:
        return ""
    away_s = unix_s - now_s
    distance = f"in {_duration(away_s)}" if away_s > 0 else f"{_duration(-away_s)} ago"
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC ({distance})"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _readable(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case dict():
            return ", ".join(f"{name}: {count}" for name, count in sorted(value.items()))
    return str(value)


def plain_line(one: DestinationStatus) -> str:
    """One destination in one line of text, for output that is not a terminal."""
    counts = " ".join(f"{name}={getattr(one, name)}" for name in ACCOUNTS)
    note = _note(one)
    return f"{one.id:<12} {one.state:<12} {counts}" + (f"  ({note})" if note else "")


def as_json(message: DestinationStatus | Stats) -> dict[str, Any]:
    """A status or the counts as JSON values."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return fields


def stats_json(stats: Stats, n_suppressed: int) -> dict[str, Any]:
    """The counts as `stats --json` prints them; `suppressed` are events, all others destinations."""
    return {**as_json(stats), "suppressed": n_suppressed}


def statuses_json(answer: Statuses, n_suppressed: int) -> dict[str, Any]:
    """The answer to a status question as `status --json` prints it."""
    destinations = [as_json(one) for one in answer.destinations]
    return {"destinations": destinations, "stats": stats_json(answer.stats, n_suppressed)}


def unbalanced(destinations: Sequence[DestinationStatus]) -> list[str]:
    """The destinations whose accounts do not balance, in words; empty when all do."""
    found = []
    for one in destinations:
        parts = sum(getattr(one, name) for name in ACCOUNTS[1:])
        if parts != one.accepted:
            found.append(f"{one.id}: accepted {one.accepted}, accounted for {parts}")
    return found
