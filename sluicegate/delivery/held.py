"""Events that wait for a decision about consent: where they are in the log, and whose they are.

Neither their bytes nor their ids are here. An event stays in the log, which is kept for it; its subject is a number
from the ledger's keyed hash, so that a change of the ledger finds the events that it may concern. Who they are of is
then read from the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import msgspec

from sluicegate.config.model import ConsentConfig
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import HeldRow
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import errors_of, fetch

HOLD_LIMIT = "hold_limit"
"""The reason of undecided events for which there was no room among those that are held."""


@dataclass(frozen=True, slots=True)
class HoldBounds:
    """How many events may be held of one subject, and of all; those that are there stay, what comes then does not."""

    per_subject: int
    total: int

    @classmethod
    def of(cls, consent: ConsentConfig) -> HoldBounds:
        """The bounds of a configuration."""
        return cls(consent.hold_max, consent.hold_total)


@dataclass(frozen=True, slots=True)
class Holds:
    """Events to hold, and the version of the ledger that they, and all that are held already, were judged by."""

    rows: Sequence[HeldRow]
    considered: int
    under: str
    bounds: HoldBounds


@dataclass(frozen=True, slots=True)
class HeldChanges:
    """What becomes of held events, by offset: how those end that need be held no longer, and which may go out now.

    `gone` are those that the log has let go of, `damaged` those that it cannot give any more. With `considered` all
    that stay were judged by the ledger as of this version, for what `under` stands for.
    """

    delivered: Sequence[Offset] = ()
    denied: Mapping[Offset, str] = field(default_factory=dict)
    dead: Sequence[DeadLetter] = ()
    gone: Sequence[Offset] = ()
    damaged: Sequence[Offset] = ()
    released: Sequence[Offset] = ()
    considered: int | None = None
    under: str = ""
    versions: Mapping[Offset, int] = field(default_factory=dict)
    """Of the ledger, by which was decided; where it is not told that is `considered`."""
    redacted: Set[Offset] = frozenset()
    """Those of the delivered that went redacted."""

    def __bool__(self) -> bool:
        ended = self.delivered or self.denied or self.dead or self.gone or self.damaged
        return bool(ended or self.released or self.considered is not None)


def number_of(key: bytes) -> int:
    """The number under which a subject's events are found; two subjects may share one, which costs a look."""
    return int.from_bytes(key[:8], "big", signed=True)


def insert_held(connection: apsw.Connection, holds: Holds) -> list[Offset]:
    """Hold events inside the caller's transaction; return those for which there was no room."""
    n_held = fetch(connection, "SELECT held FROM state")[0][0]
    rows = _with_room(connection, holds, n_held)[: max(0, holds.bounds.total - n_held)]
    connection.executemany("INSERT INTO held (log_offset, subject, also, arrived_at_ms) VALUES (?, ?, ?, ?)", rows)
    connection.execute(
        "UPDATE state SET held = held + ?, considered = ?, held_under = ?", (len(rows), holds.considered, holds.under)
    )
    if len(rows) == len(holds.rows):
        return []
    taken = {row.offset for row in rows}
    return [row.offset for row in holds.rows if row.offset not in taken]


def _with_room(connection: apsw.Connection, holds: Holds, n_held: int) -> Sequence[HeldRow]:
    """Without the events of subjects that have as many as they may."""
    most = holds.bounds.per_subject
    if n_held + len(holds.rows) <= most:
        return holds.rows
    coming = Counter([row.subject for row in holds.rows])
    there = dict(
        fetch(
            connection,
            "SELECT subject, count(*) FROM held WHERE subject IN (SELECT value FROM json_each(?)) GROUP BY subject",
            (_json(coming),),
        )
    )
    if all(there.get(subject, 0) + n <= most for subject, n in coming.items()):
        return holds.rows
    rows = []
    for row in holds.rows:
        there[row.subject] = there.get(row.subject, 0) + 1
        if there[row.subject] <= most:
            rows.append(row)
    return rows


def remove_held(connection: apsw.Connection, offsets: Iterable[Offset]) -> list[Offset]:
    """Remove held events inside the caller's transaction; return those that were there."""
    removed = [
        offset
        for (offset,) in connection.execute(
            "DELETE FROM held WHERE log_offset IN (SELECT value FROM json_each(?)) RETURNING log_offset",
            (_json(offsets),),
        )
    ]
    if removed:
        connection.execute("UPDATE state SET held = held - ?", (len(removed),))
    return removed


def release_held(connection: apsw.Connection, offsets: Iterable[Offset]) -> None:
    """Mark events as to be delivered, inside the caller's transaction."""
    connection.execute(
        "UPDATE held SET released = 1 WHERE log_offset IN (SELECT value FROM json_each(?))", (_json(offsets),)
    )


def note_held_deaths(connection: apsw.Connection, died: int, offsets: Iterable[Offset]) -> None:
    """The process of epoch `died` ended while these were on their way; inside the caller's transaction.

    May be told again of the same process.
    """
    connection.execute(
        "UPDATE held SET deaths = deaths + 1, died = ?1 "
        "WHERE died < ?1 AND log_offset IN (SELECT value FROM json_each(?2))",
        (died, _json(offsets)),
    )


class HeldEvents:
    """The held events in an open store; counts belong to the store."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    def of(self, numbers: Iterable[int] | None) -> list[Offset]:
        """The offsets of events of these subjects, of everybody for None; ascending."""
        with errors_of(self._path):
            if numbers is None:
                return [offset for (offset,) in fetch(self._db, "SELECT log_offset FROM held ORDER BY log_offset")]
            wanted = _json(numbers)
            rows = fetch(
                self._db,
                "SELECT log_offset FROM held WHERE subject IN (SELECT value FROM json_each(?1)) UNION "
                "SELECT log_offset FROM held WHERE also IN (SELECT value FROM json_each(?1)) ORDER BY 1",
                (wanted,),
            )
        return [offset for (offset,) in rows]

    def released(self, *, limit: int) -> Mapping[Offset, int]:
        """The oldest events that are to be delivered, each with how many processes died of it."""
        with errors_of(self._path):
            return dict(
                fetch(
                    self._db,
                    "SELECT log_offset, deaths FROM held WHERE released = 1 ORDER BY log_offset LIMIT ?",
                    (limit,),
                )
            )

    def expired(self, *, arrived_before_ms: int, limit: int) -> list[Offset]:
        """The oldest events that wait and arrived before a time (Unix ms), which grows with offsets."""
        with errors_of(self._path):
            rows = fetch(
                self._db,
                "SELECT log_offset, arrived_at_ms FROM held WHERE released = 0 ORDER BY log_offset LIMIT ?",
                (limit,),
            )
        return [offset for offset, arrived_ms in rows if arrived_ms < arrived_before_ms]

    def before(self, offset: Offset, *, limit: int, after: Offset = 0) -> list[Offset]:
        """The oldest events before an offset and after another one, whether released or not."""
        with errors_of(self._path):
            rows = fetch(
                self._db,
                "SELECT log_offset FROM held WHERE log_offset < ? AND log_offset > ? ORDER BY log_offset LIMIT ?",
                (offset, after, limit),
            )
        return [found for (found,) in rows]

    def is_released(self, offset: Offset) -> bool:
        """Whether this event is held and may go out now."""
        with errors_of(self._path):
            sql = "SELECT 1 FROM held WHERE log_offset = ? AND released = 1"
            return bool(fetch(self._db, sql, (offset,)))

    def oldest(self) -> HeldRow | None:
        """The event that has waited longest, whether released or not; None when none is held."""
        with errors_of(self._path):
            rows = fetch(
                self._db, "SELECT log_offset, subject, also, arrived_at_ms FROM held ORDER BY log_offset LIMIT 1"
            )
        return HeldRow(*rows[0]) if rows else None


def _json(numbers: Iterable[int]) -> str:
    return msgspec.json.encode(list(numbers)).decode()
