"""Which dead letters are meant: the filters of the `dead-letters` commands, and the stores that they look at."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sluicegate.config.units import parse_duration_s
from sluicegate.delivery.letters import LetterFilter
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import Refused
from sluicegate.paths import DataDir
from sluicegate.scripts.options import require_system


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """The filters that all these commands share; the command gets `destination` and `chosen`."""

    @functools.wraps(command)
    def filtered(*, reason: str | None, since: str | None, until: str | None, **options: Any) -> None:
        chosen = LetterFilter(reason=reason, since_ms=_moment_ms(since), until_ms=_moment_ms(until))
        command(chosen=chosen, **options)

    for name, help_text in (
        ("--until", "Entered before: 2026-01-31T12:00 (UTC unless it has an offset), or an age: 2h."),
        ("--since", "Entered at or after: 2026-01-31T12:00 (UTC unless it has an offset), or an age: 2h."),
        ("--reason", "Only those whose reason contains this text."),
        ("--destination", "Only this destination's."),
    ):
        filtered = click.option(name, callback=_given, help=help_text)(filtered)
    return filtered


def _given(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """An empty filter is most likely a variable that is not set, and would mean every letter."""
    if text is not None and not text.strip():
        raise click.UsageError(f"{option.opts[0]} is empty: say what it shall be, or leave it out", context)
    return text


def stores(where: DataDir, destination: str | None) -> Iterator[tuple[str, DestinationStore]]:
    """The stores that are meant, opened one at a time; raises `Refused` for a destination that has none."""
    require_system(where)
    paths = {path.stem: path for path in _stores_in(where.stores)}
    if destination is not None and destination not in paths:
        raise Refused(f"{destination} has no dead letters: nothing was ever delivered to it")
    for name, path in paths.items():
        if destination in (None, name):
            with _opened(path) as store:
                yield name, store


def _stores_in(folder: Path) -> list[Path]:
    """The stores in a folder, none when there is no folder; `glob` would find none either where it may not look."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".db")
    except FileNotFoundError:
        return []


@contextmanager
def _opened(path: Path) -> Iterator[DestinationStore]:
    store = DestinationStore.open(path, start=0)
    try:
        yield store
    finally:
        store.close()


def _moment_ms(text: str | None) -> int | None:
    """An ISO 8601 time, in UTC when it has no offset, or an age before now, in Unix milliseconds."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        # Without an offset it is most likely copied from `dead-letters list`, which shows UTC.
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    try:
        return max(0, int((time.time() - parse_duration_s(text)) * 1000))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a time such as 2026-01-31T12:00 nor an age such as 2h") from None
