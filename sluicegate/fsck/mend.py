"""Repairs of the small databases: an index is built again, a damaged table is copied as far as it can be read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from sluicegate.consent.store import SCHEMA as CONSENT
from sluicegate.errors import LogDamaged
from sluicegate.fsck.balance import balance
from sluicegate.fsck.databases import STORE, opened
from sluicegate.fsck.decisions import BEGUN_ANEW
from sluicegate.fsck.findings import aside, draft_of, put_back, remove
from sluicegate.sqlite import Schema, connect, errors_of, fetch, transaction

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
}
"""The first columns of tables whose rows can be found by them, over gaps."""


def mend_database(path: Path, schema: Schema) -> tuple[Path, str]:
    """Repair a database; returns where a copy of the damaged one is, and what was done.

    Raises `LogDamaged` when it cannot be repaired; it is then as it was.
    """
    old = aside(path)
    try:
        for suffix in _SUFFIXES:
            if (part := path.with_name(path.name + suffix)).exists():
                shutil.copy2(part, old.with_name(old.name + suffix))
        done = "its indexes were built again" if _reindexed(path, schema) else _copied(path, schema)
    except BaseException:
        for suffix in _SUFFIXES:
            old.with_name(old.name + suffix).unlink(missing_ok=True)
        raise
    if schema is STORE and _balanced(path, old):
        done = f"{done}; {BEGUN_ANEW}"
    return old, done


def _balanced(path: Path, old: Path) -> bool:
    """As `balance`; a store whose accounts cannot be set right is put back as it was."""
    try:
        return balance(path)
    except LogDamaged:
        remove(path, ("-wal", "-shm"))
        put_back(path, old)
        raise


def _reindexed(path: Path, schema: Schema) -> bool:
    """Whether building the indexes again was enough."""
    try:
        with opened(path, schema) as db:
            db.execute("REINDEX")
            return fetch(db, "PRAGMA integrity_check(1)") == [("ok",)]
    except LogDamaged:
        return False


def _copied(path: Path, schema: Schema) -> str:
    if schema is CONSENT:
        raise LogDamaged(f"{path}: restore it from a backup: without the denials that are lost, too much would go out")
    draft = draft_of(path)
    remove(draft)
    target = connect(draft, schema)
    try:
        with opened(path, schema) as source, errors_of(draft), transaction(target):
            tables = [name for (name,) in fetch(target, _TABLES)]
            counts = {name: _copy_table(source, target, name) for name in tables}
        if empty := [name for name in _NEEDED.intersection(counts) if counts[name] != 1]:
            raise LogDamaged(
                f"{path}: the table {empty[0]!r} cannot be read; restore the file from a backup, or remove it: "
                "a destination without its store gets everything since its registration again"
            )
    except BaseException:
        target.close()
        remove(draft)
        raise
    target.close()
    remove(path, ("-wal", "-shm"))
    os.rename(draft, path)
    return f"{sum(counts.values())} rows were copied into a new file"


def _copy_table(source: apsw.Connection, target: apsw.Connection, table: str) -> int:
    n_rows = 0
    target.execute(f"DELETE FROM {table}")
    for row in _readable(source, table):
        marks = ", ".join("?" * len(row))
        try:
            target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
        except (apsw.ConstraintError, apsw.MismatchError):
            continue  # a value of another type: damaged
        n_rows += target.changes()
    return n_rows


def _readable(source: apsw.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Every row that SQLite can reach from the front, and over gaps, further each time, where rows have ids."""
    low, step = 0, 1
    id_ = _IDS.get(table)
    has_ids = id_ is not None
    sql = f"SELECT * FROM {table}" + (f" WHERE {id_} > ? ORDER BY {id_}" if has_ids else "")
    while step < 1 << 62:
        try:
            for row in source.execute(sql, (low,) if has_ids else ()):
                yield row
                if has_ids and row[0] > low:  # a damaged one may be out of order, and must not lead back
                    low, step = row[0], 1
            return
        except (apsw.CorruptError, UnicodeDecodeError):
            if not has_ids:
                return
            low, step = low + step, step * 2
