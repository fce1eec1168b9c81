"""What a check finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluicegate.eventlog.base import Offset

Progress = Callable[[str, int, int], object]
"""(what is being done, how much is done, of how much): for a bar."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a file, below the data directory.

    With `first` and `last` these events of the log are meant, which are `n_events`; otherwise the file as a whole.
    `repaired` says what was done, None: nothing.
    """

    file: str
    what: str
    first: Offset | None = None
    last: Offset | None = None
    repaired: str | None = None

    @property
    def n_events(self) -> int:
        """How many events cannot be read for this reason."""
        return 0 if self.first is None or self.last is None else self.last - self.first + 1


def aside(path: Path) -> Path:
    """A name beside a file, with the time, that nothing has yet."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.damaged-{stamp}{f'-{n}' if n else ''}") for n in range(1_000))
    return next(name for name in names if not name.exists())


def draft_of(path: Path) -> Path:
    """Where a file is built that is to take this one's place; erasing people removes what a killed repair has left."""
    return path.with_name(f".{path.name}.repairing")


def put_back(path: Path, old: Path) -> None:
    """Give a database that was put aside its name again, last of all, after what SQLite keeps beside it."""
    for suffix in ("-wal", ""):
        if (part := old.with_name(old.name + suffix)).exists():
            os.rename(part, path.with_name(path.name + suffix))


def remove(path: Path, suffixes: Iterable[str] = ("", "-wal", "-shm")) -> None:
    """Remove a database and what SQLite keeps beside it, as far as they are there."""
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
