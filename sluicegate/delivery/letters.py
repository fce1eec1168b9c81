"""Dead letters: events that a destination will not get unless an operator replays them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import apsw
import msgspec

from sluicegate.delivery.settlement import Stage
from sluicegate.event import Combo
from sluicegate.eventlog.base import Offset
from sluicegate.sqlite import errors_of, fetch, transaction

Value = str | int


class LetterStatus(StrEnum):
    """Where a dead letter stands; one that was delivered or denied by a replay is gone."""

    DEAD = "dead"
    REPLAY = "replay"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event with why and when it failed; times are Unix milliseconds.

    `reason` is the last error, `first_error` that of its first attempt (empty for the same). `http_status` and
    `response` are what the vendor answered last: the beginning, at most 2 KB, without secrets and control characters.
    `epoch` is that of the process that gave it up, 0 for letters from before it was kept; `config_hash` tells how the
    destination was configured then, `ledger_version` which decisions its last call was permitted by; the hash is empty
    for letters from before they were kept. `combo` is what consent
    decides by when it is replayed, when the log may have forgotten the event. `id` is given by the store. A dropped
    letter has no event bytes and no response left.
    """

    offset: Offset
    message_id: str
    combo: Combo
    event: bytes
    reason: str
    attempts: int
    first_attempt_at_ms: int
    last_attempt_at_ms: int
    entered_at_ms: int
    id: int = 0
    status: LetterStatus = LetterStatus.DEAD
    stage: Stage = Stage.REJECTED
    first_error: str = ""
    http_status: int | None = None
    response: str = ""
    epoch: int = 0
    config_hash: str = ""
    ledger_version: int = 0

    @property
    def type(self) -> str:
        """The event's type."""
        return self.combo.type


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant: all conditions that are set; without `status`, those that are not dropped.

    `reason` is a part of the reason, A to Z in any case; `since_ms` and `until_ms` (exclusive) bound the time of entry.
    """

    reason: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    message_id: str | None = None
    ids: Sequence[int] | None = None
    status: LetterStatus | None = None

    def where(self) -> tuple[str, dict[str, Value]]:
        """The SQL condition and its bindings."""
        conditions = {
            # SQLite's lower() knows A to Z alone, Python's every letter: both texts must go through the same one.
            "instr(lower(reason), lower(:reason)) > 0": ("reason", self.reason),
            "entered_at_ms >= :since_ms": ("since_ms", self.since_ms),
            "entered_at_ms < :until_ms": ("until_ms", self.until_ms),
            "message_id = :message_id": ("message_id", self.message_id),
            "id IN (SELECT value FROM json_each(:ids))": ("ids", None if self.ids is None else _json(list(self.ids))),
            "status = :status": ("status", self.status and self.status.value),
        }
        chosen = {sql: binding for sql, binding in conditions.items() if binding[1] is not None}
        sql = " AND ".join([*chosen, "1"] if self.status else [*chosen, "status <> 'dropped'"])
        return sql, {name: value for name, value in chosen.values() if value is not None}


@dataclass(frozen=True, slots=True)
class Tried:
    """By whom letters were delivered again: a process, as it was configured, by the ledger's version for each id."""

    epoch: int
    config_hash: str
    versions: Mapping[int, int]


_EVERY = LetterFilter()
_COLUMNS = (
    "log_offset, message_id, combo, event, reason, attempts, first_attempt_at_ms, last_attempt_at_ms, entered_at_ms, "
    "id, status, stage, first_error, http_status, response, epoch, config_hash, ledger_version"
)
_DROP = "status = 'dropped', event = x'', response = ''"


class DeadLetters:
    """The dead letters in an open store; counts belong to the store."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    def list(self, where: LetterFilter = _EVERY, *, limit: int = 100, after: int = 0) -> Sequence[DeadLetter]:
        """Letters with an id greater than `after`, oldest first."""
        condition, bindings = where.where()
        sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE id > :after AND {condition} ORDER BY id LIMIT :limit"
        return self._fetch(sql, {**bindings, "after": after, "limit": limit})

    def count(self, where: LetterFilter = _EVERY) -> int:
        """How many letters are meant."""
        condition, bindings = where.where()
        with errors_of(self._path):
            n: int = fetch(self._db, f"SELECT count(*) FROM dead_letters WHERE {condition}", bindings)[0][0]
        return n

    def show(self, letter_id: int) -> DeadLetter | None:
        """The letter with this id, dropped or not; None when there is none."""
        with errors_of(self._path):
            return read_letter(self._db, letter_id)

    def find(self, message_id: str) -> Sequence[DeadLetter]:
        """All letters of this message, dropped or not."""
        return self._fetch(f"SELECT {_COLUMNS} FROM dead_letters WHERE message_id = ? ORDER BY id", (message_id,))

    def at(self, offset: Offset) -> DeadLetter | None:
        """The newest letter of the event with this offset, dropped or not; None when there is none."""
        sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE log_offset = ? ORDER BY id DESC LIMIT 1"
        letters = self._fetch(sql, (offset,))
        return letters[0] if letters else None

    def mark_replay(self, where: LetterFilter = _EVERY) -> int:
        """Ask for delivery again; return how many letters were marked."""
        return self._change("status = 'replay'", replace(where, status=LetterStatus.DEAD))

    def drop(self, where: LetterFilter = _EVERY) -> int:
        """Forget the event bytes of letters; they stay counted as dead. Returns how many."""
        if where.status is LetterStatus.DROPPED:
            return 0
        return self._change(_DROP, where)

    def trim(self, *, entered_before_ms: int, max_bytes: int) -> int:
        """Drop letters that entered before a time, and the oldest until the rest have at most so many bytes.

        Returns how many.
        """
        with errors_of(self._path), transaction(self._db):
            fetch(
                self._db,
                f"UPDATE dead_letters SET {_DROP} WHERE status <> 'dropped' AND (entered_at_ms < ?1 OR id <= ("
                "SELECT coalesce(max(id), 0) FROM (SELECT id, sum(length(event) + length(response)) "
                "OVER (ORDER BY id DESC) AS newer FROM dead_letters WHERE status <> 'dropped') WHERE newer > ?2))",
                (entered_before_ms, max_bytes),
            )
            return self._db.changes()

    def forget(self, *, keep: int) -> int:
        """Remove the oldest dropped letters, of which only so many are kept; they stay counted. Returns how many."""
        with errors_of(self._path), transaction(self._db):
            fetch(
                self._db,
                "DELETE FROM dead_letters WHERE status = 'dropped' AND id <= ("
                "SELECT id FROM dead_letters WHERE status = 'dropped' ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (keep,),
            )
            n: int = self._db.changes()
            if n:
                self._db.execute("UPDATE state SET forgotten = forgotten + ?", (n,))
            return n

    def offsets(self, where: LetterFilter) -> dict[int, Offset]:
        """The letters that are meant, by id, and where their events lay in the log."""
        condition, bindings = where.where()
        with errors_of(self._path):
            return dict(fetch(self._db, f"SELECT id, log_offset FROM dead_letters WHERE {condition}", bindings))

    def statuses(self, ids: Sequence[int]) -> dict[int, LetterStatus]:
        """How these letters stand, of those that are there."""
        sql = "SELECT id, status FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
        with errors_of(self._path):
            rows = fetch(self._db, sql, (_json(list(ids)),))
        return {id_: LetterStatus(status) for id_, status in rows}

    def replays(self, *, limit: int) -> Sequence[DeadLetter]:
        """The oldest letters that wait for replay; `DestinationStore.settle_replay` says how it went.

        One that cannot be read any more waits no longer: it must not keep the others from going.
        """
        sql = "SELECT id FROM dead_letters WHERE status = 'replay' ORDER BY id LIMIT ?"
        while True:
            found: list[DeadLetter] = []
            damaged: list[tuple[str, int]] = []
            with errors_of(self._path):
                for (id_,) in fetch(self._db, sql, (limit,)):
                    try:
                        found += filter(None, [read_letter(self._db, id_)])
                    except (apsw.CorruptError, UnicodeDecodeError) as error:
                        damaged.append((f"it cannot be read any more: {error}", id_))
                if not damaged:
                    return found
                with transaction(self._db):
                    self._db.executemany("UPDATE dead_letters SET status = 'dead', reason = ? WHERE id = ?", damaged)

    def _fetch(self, sql: str, bindings: Mapping[str, Value] | tuple[Value, ...]) -> Sequence[DeadLetter]:
        """Raises `LogDamaged` for a letter that cannot be read."""
        with errors_of(self._path):
            return [_letter(row) for row in fetch(self._db, sql, bindings)]

    def _change(self, assignments: str, where: LetterFilter) -> int:
        condition, bindings = where.where()
        with errors_of(self._path), transaction(self._db):
            fetch(self._db, f"UPDATE dead_letters SET {assignments} WHERE {condition}", bindings)
            return self._db.changes()


def read_letter(connection: apsw.Connection, letter_id: int) -> DeadLetter | None:
    """The letter with this id, None when there is none; raises what SQLite does for one that cannot be read."""
    rows = fetch(connection, f"SELECT {_COLUMNS} FROM dead_letters WHERE id = ?", (letter_id,))
    return _letter(rows[0]) if rows else None


def insert_letters(connection: apsw.Connection, letters: Sequence[DeadLetter]) -> None:
    """Add letters inside the caller's transaction; their ids are ignored."""
    connection.executemany(
        f"INSERT INTO dead_letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_columns(letter) for letter in letters),
    )


def letter_offsets(connection: apsw.Connection, ids: Sequence[int]) -> dict[int, Offset]:
    """The offsets of letters by their ids, of those that are there."""
    sql = "SELECT id, log_offset FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
    return dict(fetch(connection, sql, (_json(list(ids)),)))


def remove_letters(connection: apsw.Connection, ids: Sequence[int]) -> set[int]:
    """Remove letters that a replay has settled, inside the caller's transaction; return those that were there.

    Also one that was dropped while its replay was under way: what happened to it is known now.
    """
    rows = connection.execute(
        "DELETE FROM dead_letters WHERE status IN ('replay', 'dropped') "
        "AND id IN (SELECT value FROM json_each(?)) RETURNING id",
        (_json(list(ids)),),
    )
    return {row[0] for row in rows}


def fail_letters(
    connection: apsw.Connection, reasons: Mapping[int, str], *, now_ms: int | None, tried: Tried | None = None
) -> None:
    """Put letters whose replay failed back among the dead, inside the caller's transaction.

    Without `now_ms` nobody knows when that was, without `tried` by whom.
    """
    rows: list[tuple[str | int | None, ...]] = []
    for id_, reason in reasons.items():
        by = (None,) * 3 if tried is None else (tried.epoch, tried.config_hash, tried.versions.get(id_))
        rows.append((reason, now_ms, *by, id_))
    connection.executemany(
        "UPDATE dead_letters SET status = 'dead', reason = ?, attempts = attempts + 1, "
        "last_attempt_at_ms = coalesce(?, last_attempt_at_ms), epoch = coalesce(?, epoch), "
        "config_hash = coalesce(?, config_hash), ledger_version = coalesce(?, ledger_version) "
        "WHERE id = ? AND status = 'replay'",
        rows,
    )


def _columns(letter: DeadLetter) -> tuple[Value | bytes | None, ...]:
    return (
        letter.offset,
        letter.message_id,
        _json(letter.combo),
        letter.event,
        letter.reason,
        letter.attempts,
        letter.first_attempt_at_ms,
        letter.last_attempt_at_ms,
        letter.entered_at_ms,
        letter.status.value,
        letter.stage.value,
        letter.first_error,
        letter.http_status,
        letter.response,
        letter.epoch,
        letter.config_hash,
        letter.ledger_version,
    )


def _letter(row: Sequence[object]) -> DeadLetter:
    columns: Iterator[object] = iter(row)
    fields = dict(zip(_COLUMNS.replace("log_offset", "offset").split(", "), columns, strict=True))
    try:
        fields["combo"] = msgspec.json.decode(str(fields["combo"]), type=Combo)
        fields["status"] = LetterStatus(str(fields["status"]))
        fields["stage"] = Stage(str(fields["stage"]))
    except (ValueError, msgspec.DecodeError) as error:
        raise apsw.CorruptError(f"dead letter {fields['id']} cannot be decoded: {error}") from error
    return DeadLetter(**fields)  # type: ignore[arg-type]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
