"""Repairs of the small databases: an index is built again, a damaged table is copied as far as it can be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import apsw

from sluicegate.consent.store import SCHEMA as CONSENT
from sluicegate.errors import LogDamaged
from sluicegate.fsck.balance import balance
from sluicegate.fsck.databases import STORE, looked_at, opened
from sluicegate.fsck.decisions import BEGUN_ANEW
from sluicegate.fsck.findings import aside, draft_of, remove
from sluicegate.fsck.starts import NO_START
from sluicegate.sqlite import Schema, connect, errors_of, fetch, fsync, require_files, transaction, upgrade

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_NEEDED = {"state", "facts"}
"""Tables of one row, without which the rest says nothing."""
_SUFFIXES = ("", "-wal")
_IDS = {
    "dead_letters": "id",
    "held": "log_offset",
    "decisions": "number",
    "beyond": "block",
    "beyond_dead": "log_offset",
    "destinations": "rowid",
}
"""What the rows of tables can be found by, over gaps."""
_NO_ID = 1 << 62


def mend_database(path: Path, schema: Schema) -> tuple[Path, str]:
    """Repair a database; returns where a copy of the damaged one is, and what was done.

    All of it is one commit, so that a process that is killed has repaired it or has changed nothing. Raises
    `LogDamaged` when it cannot be repaired, `LogUnavailable` when it cannot be now; it is then as it was.
    """
    require_files(path)
    old = aside(path)
    try:
        _copy_aside(path, old)
        return old, _reindexed(path, schema) or _copied(path, schema)
    except BaseException:
        remove(old, _SUFFIXES)
        raise


def _copy_aside(path: Path, old: Path) -> None:
    with errors_of(path):
        for suffix in _SUFFIXES:
            if (part := path.with_name(path.name + suffix)).exists():
                copy = old.with_name(old.name + suffix)
                shutil.copy2(part, copy)
                fsync(copy)
        fsync(old.parent)


def _reindexed(path: Path, schema: Schema) -> str | None:
    """Build the indexes again and set the accounts right; None when that is not enough, and nothing was changed."""
    try:
        with opened(path, schema, bring_up=False) as db, transaction(db):
            upgrade(db, schema)
            db.execute("REINDEX")
            if fetch(db, "PRAGMA integrity_check(1)") != [("ok",)]:
                raise LogDamaged(f"{path}: is damaged in more than an index")
            return "its indexes were built again" + _balanced(db, path, schema)
    except LogDamaged:
        return None


def _balanced(db: apsw.Connection, path: Path, schema: Schema) -> str:
    """Set the accounts of a store right; returns what else there is to say of what was done."""
    return f"; {BEGUN_ANEW}" if schema is STORE and balance(db, path) else ""


def _copied(path: Path, schema: Schema) -> str:
    if schema is CONSENT:
        raise LogDamaged(f"{path}: restore it from a backup: without the denials that are lost, too much would go out")
    draft = draft_of(path)
    remove(draft)
    try:
        with closing(connect(draft, schema)) as target, errors_of(draft):
            with looked_at(path, schema) as source, transaction(target):
                n_rows = _copy_tables(source, target, path)
                note = _balanced(target, path, schema)
            _exchange(path, schema, target)
    finally:
        remove(draft)
    return f"{n_rows} rows were copied into it anew{note}"


def _exchange(path: Path, schema: Schema, by: apsw.Connection) -> None:
    """Write another database over all pages of this one: a file that is renamed would be found with this one's WAL."""
    with closing(connect(path, schema, create=False, bring_up=False)) as db, errors_of(path):
        with db.backup("main", by, "main") as backup:
            backup.step(-1)  # one transaction
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _copy_tables(source: apsw.Connection, target: apsw.Connection, path: Path) -> int:
    tables = [name for (name,) in fetch(target, _TABLES)]
    counts = {name: _copy_table(source, target, name) for name in tables}
    if empty := [name for name in _NEEDED.intersection(counts) if counts[name] != 1]:
        raise LogDamaged(
            f"{path}: the table {empty[0]!r} cannot be read; restore the file from a backup, or remove it: "
            "a destination without its store gets everything since its registration again"
        )
    return sum(counts.values())


def _copy_table(source: apsw.Connection, target: apsw.Connection, table: str) -> int:
    target.execute(f"DELETE FROM {table}")
    n_rows = sum(_copy_row(target, table, row) for row in _readable(source, table))
    if table == "destinations":  # one that is not there would begin where the log ends when the system starts
        with suppress(apsw.CorruptError, UnicodeDecodeError):
            ids = source.execute("SELECT id FROM destinations INDEXED BY sqlite_autoindex_destinations_1")
            n_rows += sum(_copy_row(target, table, (id_, NO_START, 0, None, None)) for (id_,) in ids)
    return n_rows


def _copy_row(target: apsw.Connection, table: str, row: tuple[Any, ...]) -> int:
    """How many rows came of it: none when it is there already or has a value of another type, and so is damaged."""
    if table == "destinations" and not isinstance(row[1], int):
        row = (row[0], NO_START, *row[2:])
    marks = ", ".join("?" * len(row))
    try:
        target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
    except (apsw.ConstraintError, apsw.MismatchError):
        return 0
    return target.changes()


def _readable(source: apsw.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Every row that SQLite can reach from the front, and behind gaps, where rows have ids."""
    id_ = _IDS.get(table)
    if id_ is None:
        with suppress(apsw.CorruptError, UnicodeDecodeError):
            yield from source.execute(f"SELECT * FROM {table}")
        return
    sql = f"SELECT {id_}, * FROM {table} WHERE {id_} >= ? ORDER BY {id_}"
    low: int | None = 1
    while low is not None and low < _NO_ID:
        try:
            for at, *row in source.execute(sql, (low,)):
                yield tuple(row)
                low = max(low, at + 1)  # a damaged one may be out of order, and must not lead back
            return
        except (apsw.CorruptError, UnicodeDecodeError):
            low = _behind_gap(source, sql, low)


def _behind_gap(source: apsw.Connection, sql: str, low: int) -> int | None:
    """From which id on rows can be read again: the first one, where all in between are lost."""
    step = 1
    while not _is_readable(source, sql, low + step):
        step *= 2
        if step >= _NO_ID:
            return None
    lost, found = low + step // 2, low + step
    while found - lost > 1:
        middle = (lost + found) // 2
        if _is_readable(source, sql, middle):
            found = middle
        else:
            lost = middle
    return found


def _is_readable(source: apsw.Connection, sql: str, low: int) -> bool:
    try:
        source.execute(sql, (low,)).fetchone()
    except (apsw.CorruptError, UnicodeDecodeError):
        return False
    return True
