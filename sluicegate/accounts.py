"""Where every event went, per destination: accepted = delivered + pending + held + dead + denied + expired.

The layout of a destination's store is here because all who read accounts need it; `delivery.store` writes it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import apsw
from google_crc32c import value as crc32c

from sluicegate.audit.chain import SQL as AUDIT_SQL
from sluicegate.audit.words import DEAD, DELIVERED, EXPIRED, HELD, REDACTED, denied, expired
from sluicegate.errors import LogDamaged, LogError, LogTooNew
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.paths import DataDir
from sluicegate.registry import Registration
from sluicegate.sqlite import Schema, connect, errors_of, fetch, fetch_one

logger = logging.getLogger(__name__)

DAMAGED = "damaged in the log"
"""The reason of events that expired because the log can no longer give them: they were not delivered, and by no
destination's fault, so they are not dead letters, which have an event to look at and to replay."""

_STORE_SQL = """
    CREATE TABLE state (
        epoch INTEGER NOT NULL, start INTEGER NOT NULL, cursor INTEGER NOT NULL,
        delivered INTEGER NOT NULL, dead INTEGER NOT NULL, expired INTEGER NOT NULL{more_about_state}
    ) STRICT;
    INSERT INTO state (epoch, start, cursor, delivered, dead, expired) VALUES (0, {start}, {start}, 0, 0, 0);
    CREATE TABLE denied (reason TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE expired_by (reason TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT, status TEXT NOT NULL, log_offset INTEGER NOT NULL,
        message_id TEXT NOT NULL, combo TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
        first_attempt_at_ms INTEGER NOT NULL, last_attempt_at_ms INTEGER NOT NULL, entered_at_ms INTEGER NOT NULL,
        event BLOB NOT NULL{more_about_letters}
    ) STRICT;
    CREATE INDEX dead_letters_message_id ON dead_letters (message_id);
    CREATE INDEX dead_letters_replay ON dead_letters (id) WHERE status = 'replay';
    {on_their_way};
    {held};
    {audit};
    {restraint};
    {beyond}
"""

_MORE_ABOUT_LETTERS = (
    "stage TEXT NOT NULL DEFAULT 'rejected'",
    "first_error TEXT NOT NULL DEFAULT ''",
    "http_status INTEGER",
    "response TEXT NOT NULL DEFAULT ''",
    "epoch INTEGER NOT NULL DEFAULT 0",
)
_BY_WHAT_LETTERS = ("config_hash TEXT NOT NULL DEFAULT ''", "ledger_version INTEGER NOT NULL DEFAULT 0")
_ON_THEIR_WAY = """
    CREATE TABLE retries (
        lane INTEGER NOT NULL, part INTEGER NOT NULL, offsets BLOB NOT NULL, attempts INTEGER NOT NULL,
        failing_ms INTEGER NOT NULL, first_attempt_at_ms INTEGER NOT NULL, first_error TEXT NOT NULL,
        PRIMARY KEY (lane, part)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deaths (
        log_offset INTEGER NOT NULL, epoch INTEGER NOT NULL, call INTEGER NOT NULL, alone INTEGER NOT NULL,
        PRIMARY KEY (log_offset, epoch)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE refused (config_hash TEXT NOT NULL) STRICT
"""
_MORE_ABOUT_STATE = (
    "held INTEGER NOT NULL DEFAULT 0",
    "considered INTEGER NOT NULL DEFAULT 0",
    "held_under TEXT NOT NULL DEFAULT ''",
    "redacted INTEGER NOT NULL DEFAULT 0",
)
_HELD = """
    CREATE TABLE held (
        log_offset INTEGER PRIMARY KEY, subject INTEGER NOT NULL, also INTEGER, arrived_at_ms INTEGER NOT NULL,
        released INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0{more_about_held}
    ) STRICT;
    CREATE INDEX held_subject ON held (subject);
    CREATE INDEX held_also ON held (also) WHERE also IS NOT NULL;
    CREATE INDEX held_released ON held (log_offset) WHERE released = 1
"""
_FORGOTTEN = "forgotten INTEGER NOT NULL DEFAULT 0"
"""Of the dead events: those of which nothing is kept but this count."""
_WHO_DIED = "died INTEGER NOT NULL DEFAULT -1"
"""Of a held event: the epoch of the last process that ended while it was on its way, so that each counts once."""
_RESTRAINT = """
    CREATE TABLE restraint (
        config_hash TEXT NOT NULL, at_ms INTEGER, open_until_ms INTEGER, open_ms INTEGER, general INTEGER,
        not_before_ms INTEGER, tokens REAL
    ) STRICT
"""
_BEYOND = """
    CREATE TABLE beyond (
        block INTEGER PRIMARY KEY, last INTEGER NOT NULL, requires TEXT NOT NULL, told BLOB NOT NULL,
        seal INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE beyond_dead (log_offset INTEGER PRIMARY KEY, story BLOB NOT NULL, seal INTEGER NOT NULL) STRICT
"""
_UPGRADES = (
    (
        1,
        "".join(f"ALTER TABLE dead_letters ADD COLUMN {column};" for column in _MORE_ABOUT_LETTERS)
        + "CREATE TABLE expired_by (reason TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        + _ON_THEIR_WAY,
    ),
    (
        2,
        "".join(f"ALTER TABLE state ADD COLUMN {column};" for column in _MORE_ABOUT_STATE)
        + _HELD.format(more_about_held="")
        + ";"
        + AUDIT_SQL,
    ),
    (3, _RESTRAINT),
    (4, "".join(f"ALTER TABLE dead_letters ADD COLUMN {column};" for column in _BY_WHAT_LETTERS)),
    (5, f"ALTER TABLE held ADD COLUMN {_WHO_DIED}; ALTER TABLE state ADD COLUMN {_FORGOTTEN};"),
    (6, _BEYOND),
)

# One statement, so that counts and cursor are of one moment.
_STATE = """
    SELECT epoch, start, cursor, delivered, dead, expired, (SELECT json_group_object(reason, n) FROM denied),
        (SELECT json_group_object(reason, n) FROM expired_by), held, considered, held_under, redacted, {settled_to}
    FROM state
"""
_SETTLED_TO = """
    (SELECT coalesce(max(last), 0) FROM (
        SELECT last FROM beyond WHERE last > cursor
        UNION ALL SELECT log_offset FROM beyond_dead WHERE log_offset > cursor
    ))
"""
_STATE_OF_VERSION_6 = _STATE.replace("{settled_to}", "0")
_STATE_OF_VERSION_2 = _STATE_OF_VERSION_6.replace("held, considered, held_under, redacted", "0, 0, '', 0")
_STATE_OF_VERSION_1 = _STATE_OF_VERSION_2.replace("(SELECT json_group_object(reason, n) FROM expired_by)", "'{}'")
_STATES = (
    (1, _STATE_OF_VERSION_1),
    (2, _STATE_OF_VERSION_2),
    (6, _STATE_OF_VERSION_6),
    (7, _STATE.replace("{settled_to}", _SETTLED_TO)),
)
"""By the newest version that they are for: who may not write to a store cannot bring it up."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """What one store says: events after `start` up to `cursor` are settled, and how.

    The counts add up: delivered + held + dead + expired + all of `denied` = cursor - start. `epoch` 0: never claimed.
    Every held event was judged by the ledger as of version `considered` at least, for a requirement and policy that
    `held_under` stands for. `redacted` of the delivered events went redacted. `settled_to` is the last event that is
    settled although one before it is not; it counts when the cursor passes it. 0 when there is none.
    """

    epoch: int
    start: Offset
    cursor: Offset
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    denied: Mapping[str, int] = field(default_factory=dict)
    expired_by: Mapping[str, int] = field(default_factory=dict)
    held: int = 0
    considered: int = 0
    held_under: str = ""
    redacted: int = 0
    settled_to: Offset = 0


@dataclass(frozen=True, slots=True)
class Account:
    """One destination's account, in events.

    `denied_by` splits `denied` by reason. `expired_by` has the reasons of what expired; the rest is retention's.
    `redacted` of the delivered events went redacted.
    """

    accepted: int
    delivered: int
    pending: int
    held: int
    dead: int
    denied: int
    expired: int
    denied_by: Mapping[str, int]
    cursor: Offset
    epoch: int
    expired_by: Mapping[str, int] = field(default_factory=dict)
    redacted: int = 0


def store_schema(start: Offset) -> Schema:
    """The layout of a store; a new one has everything up to `start` behind it."""
    return Schema(
        what="destination store",
        application_id=0x53477374,  # "SGst"
        version=7,
        sql=_STORE_SQL.format(
            start=int(start),
            more_about_state="".join(f", {column}" for column in (*_MORE_ABOUT_STATE, _FORGOTTEN)),
            more_about_letters="".join(f", {column}" for column in _MORE_ABOUT_LETTERS + _BY_WHAT_LETTERS),
            on_their_way=_ON_THEIR_WAY,
            held=_HELD.format(more_about_held=", " + _WHO_DIED),
            audit=AUDIT_SQL,
            restraint=_RESTRAINT,
            beyond=_BEYOND,
        ),
        upgrades=_UPGRADES,
    )


@contextmanager
def reading_store(path: Path) -> Iterator[apsw.Connection]:
    """The store at `path`, to be read only; raises `LogError` when it cannot be opened or what is asked of it fails."""
    connection = connect(path, store_schema(0), readonly=True)
    try:
        with errors_of(path):
            yield connection
    finally:
        connection.close()


def read_state(connection: apsw.Connection) -> StoreState:
    """The state in an open store."""
    version = connection.pragma("user_version")
    sql = next(sql for newest, sql in _STATES if version <= newest)
    epoch, start, cursor, delivered, dead, expired, denied, expired_by, *hold = fetch_one(connection, sql)
    by_reason = json.loads(denied), json.loads(expired_by)
    return StoreState(epoch, start, cursor, delivered, dead, expired, *by_reason, *hold)


def seal_of(*columns: int | str | bytes) -> int:
    """The checksum of a row that says what is settled beyond the cursor."""
    seal: int = crc32c(b"\0".join([one if isinstance(one, bytes) else str(one).encode() for one in columns]))
    return seal


def settled_end(connection: apsw.Connection) -> Offset:
    """The last event that is settled beyond the cursor, by rows that are what was written; 0 when there is none."""
    if not read_state(connection).settled_to:
        return 0
    ends = [0]
    for sql in (
        "SELECT last, seal, block, last, requires, told FROM beyond ORDER BY last DESC",
        "SELECT log_offset, seal, log_offset, story FROM beyond_dead ORDER BY log_offset DESC",
    ):
        rows = fetch(connection, sql)
        ends += islice((end for end, seal, *columns in rows if seal_of(*columns) == seal), 1)
    return max(ends)


def words_of(state: StoreState) -> dict[str, int]:
    """The counts of a store by the words of the audit, which say the same event by event."""
    return {
        DELIVERED: state.delivered - state.redacted,
        REDACTED: state.redacted,
        DEAD: state.dead,
        HELD: state.held,
        EXPIRED: state.expired - sum(state.expired_by.values()),
        **{denied(reason): n for reason, n in state.denied.items()},
        **{expired(reason): n for reason, n in state.expired_by.items()},
    }


def account_of(state: StoreState, *, head: Offset) -> Account:
    """The account of a store when the log ends at `head`, which may have been read before the store was."""
    head = max(head, state.cursor)
    return Account(
        accepted=head - state.start,
        delivered=state.delivered,
        pending=head - state.cursor,
        held=state.held,
        dead=state.dead,
        denied=sum(state.denied.values()),
        expired=state.expired,
        denied_by=state.denied,
        cursor=state.cursor,
        epoch=state.epoch,
        expired_by=state.expired_by,
        redacted=state.redacted,
    )


def read_accounts(data_dir: DataDir, registered: Mapping[str, Registration], *, head: Offset) -> dict[str, Account]:
    """The accounts of these destinations; read `head` from the log first.

    One that has no store yet has everything since its start pending. One whose store cannot be read is left out, with
    a warning: it must not hide the others.
    """
    stored = _stored(data_dir)
    accounts = {}
    for id_, registration in registered.items():
        start = registration.start
        try:
            state = _read_store(data_dir.store(id_)) if id_ in stored else StoreState(0, start, start)
        except LogError as error:
            logger.warning("the account of %s cannot be read: %s", id_, error)
            continue
        accounts[id_] = account_of(state, head=head)
    return accounts


def oldest_pending_ms(log: EventLog, cursors: Iterable[Offset]) -> dict[Offset, int]:
    """When the first event after each cursor arrived (Unix ms); cursors without such an event are left out."""
    arrived = {cursor: log.received_at_ms(cursor) for cursor in set(cursors)}
    return {cursor: at_ms for cursor, at_ms in arrived.items() if at_ms is not None}


def check_cursors(data_dir: DataDir, registered: Iterable[str], *, head: Offset) -> None:
    """Raise `LogDamaged` when a destination has read past the end of the log: an older log has taken its place.

    For the start of the system, when nothing else runs; events would be skipped silently otherwise. A store that cannot
    be read stops its own destination alone. Raises `LogTooNew` too.
    """
    for id_ in _stored(data_dir).intersection(registered):
        try:
            read = _read_up_to(data_dir.store(id_))
        except LogTooNew:
            raise
        except LogError as error:
            logger.warning("how far %s has read is not known: %s", id_, error)
            continue
        if read > head:
            raise LogDamaged(
                f"the event log ends at event {head}, but destination {id_!r} has read up to {read}; "
                "restore the newest log"
            )


def refused_config(path: Path) -> str | None:
    """The hash of the configuration that the vendor of this store refused last; None when none was, or no store is."""
    if not path.exists():
        return None
    with reading_store(path) as connection:
        if not fetch(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'refused'"):
            return None  # of a version that did not keep it
        rows = fetch(connection, "SELECT config_hash FROM refused")
    return rows[0][0] if rows else None


def _stored(data_dir: DataDir) -> set[str]:
    try:
        return {name[:-3] for name in os.listdir(data_dir.stores) if name.endswith(".db")}
    except FileNotFoundError:
        return set()


def _read_up_to(path: Path) -> Offset:
    with reading_store(path) as connection:
        return max(read_state(connection).cursor, settled_end(connection))


def _read_store(path: Path) -> StoreState:
    with reading_store(path) as connection:
        return read_state(connection)
