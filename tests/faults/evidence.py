"""What is really there once a scenario has ended: journals, the log's rows, stores, files; and how it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec
import zstandard

from sluicegate.paths import DataDir
from tests.faults.receiver import describe


@dataclass(frozen=True, slots=True)
class Taken:
    """One event as a destination took it."""

    id: str
    fingerprint: str
    additions: str
    at: float = 0.0


@dataclass(slots=True)
class Issued:
    """What the oracle's journal says of each id: when it was first acknowledged, and that it was sent."""

    acked: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    """When it was first sent."""
    refused: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, entries: Iterable[Mapping[str, Any]]) -> Issued:
        """From the oracle's journal."""
        issued = cls()
        for entry in entries:
            match entry["what"]:
                case "sent":
                    for id_ in entry["ids"]:
                        issued.sent.setdefault(id_, entry["t"])
                case "acked":
                    for id_ in entry["ids"]:
                        issued.acked.setdefault(id_, entry["t"])
                case "refused":
                    issued.refused.append(entry["why"])
        return issued


@dataclass(frozen=True, slots=True)
class Store:
    """A destination's store as its file says."""

    epoch: int
    start: int
    cursor: int
    delivered: int
    dead: int
    expired: int
    denied: Mapping[str, int]
    letters: tuple[str, ...]
    """Message ids of the dead letters."""


ANSWERED = ("taken", "lied")
"""Outcomes for which a receiver is answerable: it said 200, or at least it has taken the events."""


def taken_by(entries: Iterable[Mapping[str, Any]], destination: str) -> Iterator[Taken]:
    """The events that a receiver has taken for a destination, in order."""
    for entry in entries:
        if entry["to"] == destination and entry["outcome"] in ANSWERED:
            yield from (Taken(id_, mark, additions, entry["t"]) for id_, mark, additions in entry["events"])


def attempted_at(entries: Iterable[Mapping[str, Any]], destination: str) -> set[str]:
    """The ids of all events that were sent to a destination, whatever it answered."""
    return {event[0] for entry in entries if entry["to"] == destination for event in entry["events"]}


def read_lines(path: Path) -> Iterator[Taken]:
    """The events in a file of the type "file", in order."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield Taken(*describe(line.rstrip(b"\n")))


def log_payloads(data_dir: DataDir) -> Iterator[bytes]:
    """What the rows of the event log hold, uncompressed, in order; for a system that has ended."""
    with closing(_open(data_dir.event_log)) as db:
        rows: Any = db.execute("SELECT payload, n_bytes FROM rows ORDER BY first")
        for stored, n_bytes in rows:
            yield stored if len(stored) == n_bytes else zstandard.decompress(stored, max_output_size=n_bytes)


def log_ids(data_dir: DataDir) -> list[str]:
    """The message ids in the event log, in order; for a system that has ended."""
    ids = []
    for payload in log_payloads(data_dir):
        raws = msgspec.json.decode(b"[" + payload + b"]", type=list[msgspec.Raw])
        ids += [describe(bytes(raw))[0] for raw in raws]
    return ids


def read_store(data_dir: DataDir, destination: str) -> Store | None:
    """A destination's store; None when it has never had one."""
    path = data_dir.store(destination)
    if not path.exists():
        return None
    with closing(_open(path)) as db:
        state: Any = db.execute("SELECT epoch, start, cursor, delivered, dead, expired FROM state").fetchall()[0]
        denied: Any = db.execute("SELECT reason, n FROM denied").fetchall()
        letters = tuple(str(id_) for (id_,) in db.execute("SELECT message_id FROM dead_letters"))
    epoch, start, cursor, delivered, dead, expired = state
    return Store(epoch, start, cursor, delivered, dead, expired, dict(denied), letters)


def responses(data_dir: DataDir, destination: str) -> list[str]:
    """What a receiver said about each of the events that are dead letters."""
    with closing(_open(data_dir.store(destination))) as db:
        return [str(said) for (said,) in db.execute("SELECT response FROM dead_letters")]


def integrity_problems(data_dir: DataDir) -> list[str]:
    """What SQLite finds wrong with any of the databases."""
    problems = []
    for path in (data_dir.event_log, data_dir.control, *data_dir.stores.glob("*.db")):
        with closing(_open(path)) as db:
            said = [row[0] for row in db.execute("PRAGMA integrity_check")]
        if said != ["ok"]:
            problems.append(f"{path.name}: {said[:3]}")
    return problems


def count(verdicts: Iterable[str | None]) -> tuple[int, dict[str, int]]:
    """How many are permitted, and how many are denied for which reason."""
    reasons = Counter(verdicts)
    n_permitted = reasons.pop(None, 0)
    return n_permitted, {str(reason): n for reason, n in reasons.items()}


def _open(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
