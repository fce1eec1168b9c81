"""Checks of the databases beside the log: the destinations' stores, the control database, quarantine and consent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from sluicegate.accounts import StoreState, read_state, settled_end, store_schema
from sluicegate.consent.store import SCHEMA as CONSENT
from sluicegate.delivery.beyond_store import beyond_faults
from sluicegate.delivery.letters import LetterStatus, read_letter
from sluicegate.errors import LogError, LogTooNew
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.quarantine import SCHEMA as QUARANTINE
from sluicegate.fsck.decisions import check_proof, told_by
from sluicegate.fsck.findings import Finding
from sluicegate.paths import DataDir
from sluicegate.registry import SCHEMA as CONTROL
from sluicegate.sqlite import Schema, connect, errors_of, fetch, upgrade

STORE = store_schema(0)


def databases(data_dir: DataDir) -> list[tuple[Path, Schema]]:
    """The databases that a data directory has beside the log."""
    stores = sorted(data_dir.stores.glob("*.db")) if data_dir.stores.is_dir() else []
    others = [(data_dir.control, CONTROL), (data_dir.quarantine, QUARANTINE), (data_dir.consent, CONSENT)]
    return [*((path, schema) for path, schema in others if path.exists()), *((path, STORE) for path in stores)]


@contextmanager
def opened(path: Path, schema: Schema, *, bring_up: bool = True) -> Iterator[apsw.Connection]:
    """A database to be repaired: what its WAL has stays there."""
    db = connect(path, schema, create=False, bring_up=bring_up)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        with errors_of(path):
            yield db
    finally:
        db.close()


@contextmanager
def looked_at(path: Path, schema: Schema) -> Iterator[apsw.Connection]:
    """A database for a look alone, in the newest layout; it keeps its own on the disk, and its WAL what it has."""
    with opened(path, schema, bring_up=False) as db:
        db.execute("BEGIN IMMEDIATE")
        upgrade(db, schema)
        yield db


def check_database(path: Path, schema: Schema, data_dir: DataDir) -> list[Finding]:
    """Everything that is wrong with one database; raises `LogTooNew`."""
    name = str(path.relative_to(data_dir.root))
    try:
        with looked_at(path, schema) as db:
            faults = [text for (text,) in fetch(db, "PRAGMA integrity_check(20)") if text != "ok"]
            if schema is STORE:
                faults += store_faults(db)
    except LogTooNew:
        raise
    except LogError as error:
        faults = [str(error)]
    return [Finding(name, fault) for fault in faults]


def store_faults(db: apsw.Connection) -> list[str]:
    """Where a store contradicts itself."""
    if len(fetch(db, "SELECT 1 FROM state")) != 1:
        return ["it does not have one cursor"]
    state, faults = read_state(db), []
    counted = n_counted(state)
    if counted != state.cursor - state.start:
        faults.append(f"its cursor has moved by {state.cursor - state.start}, but {counted} events are counted")
    bad = bad_letters(db)
    if bad:
        faults.append(f"dead letters cannot be decoded: {', '.join(map(str, bad[:20]))}")
    n_letters = known_letters(db)
    if n_letters != state.dead:
        faults.append(f"it has {n_letters} dead letters, but {state.dead} are counted")
    n_held, last = fetch(db, "SELECT count(*), max(log_offset) FROM held")[0]
    if n_held != state.held:
        faults.append(f"it holds {n_held} events, but {state.held} are counted")
    if last is not None and last > state.cursor:
        faults.append(f"it holds event {last}, but its cursor is at {state.cursor}")
    whole, fault = check_proof(db)
    if fault is not None and not (faults and whole):  # what contradicts the store's counts is told of them already
        faults.append(f"its proof of decisions: {fault}")
    return faults + beyond_faults(db)


def n_counted(state: StoreState) -> int:
    """How many events the counts of a store add up to."""
    return state.delivered + state.held + state.dead + state.expired + sum(state.denied.values())


def believed_cursor(db: apsw.Connection) -> Offset | None:
    """How far a store has read, when two of its cursor, its counts and its decisions say the same; else None."""
    state = read_state(db)
    counted = state.start + n_counted(state)
    if state.cursor == counted:
        return counted
    told = told_by(db)
    return told.reached if told is not None and told.reached in (state.cursor, counted) else None


def known_letters(db: apsw.Connection) -> int:
    """How many dead letters there are, with those of which only the count is kept."""
    n: int = fetch(db, "SELECT count(*) + (SELECT forgotten FROM state) FROM dead_letters")[0][0]
    return n


def bad_letters(db: apsw.Connection) -> list[int]:
    """Ids of the dead letters that nobody can read."""
    ids = [id_ for (id_,) in fetch(db, "SELECT id FROM dead_letters ORDER BY id")]
    return [id_ for id_ in ids if not _is_readable(db, id_)]


def _is_readable(db: apsw.Connection, id_: int) -> bool:
    try:
        letter = read_letter(db, id_)
        if letter is not None and letter.status is not LetterStatus.DROPPED:
            msgspec.json.decode(letter.event)
    except (apsw.CorruptError, UnicodeDecodeError, msgspec.DecodeError):
        return False
    return True


def cursors(data_dir: DataDir, *, rung: Offset = 0) -> list[Offset]:
    """How far each destination has read, or where it begins when it never did; as far as their files can be read.

    Of a store whose cursor cannot be believed only its beginning counts: a repair would add to the log what such a
    cursor speaks of. For the same reason a registration counts as one at the beginning of the log when it is after an
    event of which neither the bell (`rung`, 0 when that says nothing) nor a store has heard. Also what is before the
    first event that a destination holds, for it needs that one still, and the last one that it has settled beyond its
    cursor, for no other event must get that offset.
    """
    starts: dict[str, Offset] = {}
    found: dict[str, Offset] = {}
    for path, schema in databases(data_dir):
        try:
            with looked_at(path, schema) as db:
                if schema is CONTROL:
                    starts = dict(fetch(db, "SELECT id, start FROM destinations WHERE typeof(start) = 'integer'"))
                elif schema is STORE:
                    found[path.stem] = passed = _passed(db)
                    if (settled := settled_end(db)) > passed:
                        found[f"{path.stem}, settled"] = settled
                    for (oldest,) in fetch(db, "SELECT log_offset FROM held ORDER BY log_offset LIMIT 1"):
                        found[f"{path.stem}, held"] = min(oldest - 1, passed)
        except LogError:
            continue
    known = max([rung, *found.values()])
    for id_, start in starts.items():
        found.setdefault(id_, 0 if start < 0 or (rung and start > known) else start)
    return list(found.values())


def _passed(db: apsw.Connection) -> Offset:
    believed = believed_cursor(db)
    if believed is not None:
        return believed
    state = read_state(db)
    return min(state.start, state.cursor)
