"""Opening SQLite databases the one way that all stores use, and naming what goes wrong with them.

A database is built beside its place and linked into it when it is complete, so a file that is there is whole: an
empty or foreign one is damage, never a fresh start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import apsw

from sluicegate.errors import LogDamaged, LogTooNew, LogUnavailable, PageDamaged
from sluicegate.owner import give_to_owner

Synchronous = Literal["OFF", "NORMAL", "FULL", "EXTRA"]
BUSY_TIMEOUT_MS = 5_000

# Before these a reset of the WAL could race with a commit and corrupt the file (sqlite.org/wal.html#walresetbug).
FIRST_SAFE = (3, 51, 3)
SAFE_BACKPORTS = {(3, 50): 7, (3, 44): 6}

_FSYNC_FAILED = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}
_READ_FAILED = {
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_CORRUPTFS,
}


@dataclass(frozen=True, slots=True)
class Schema:
    """What kind of database a file is: `application_id` marks the kind, `version` its layout, `sql` makes it.

    `page_size` in bytes is SQLite's own default unless there is a reason; with `shrinks` free pages can be given back
    (auto_vacuum = INCREMENTAL, sqlite.org/pragma.html#pragma_auto_vacuum). `upgrades` has, for each older version that
    can be brought up, the version and the SQL that makes the next one of it.
    """

    what: str
    application_id: int
    version: int
    sql: str
    page_size: int = 4096
    upgrades: tuple[tuple[int, str], ...] = ()
    shrinks: bool = False


def connect(
    path: Path,
    schema: Schema,
    *,
    synchronous: Synchronous = "FULL",
    create: bool = True,
    readonly: bool = False,
    bring_up: bool = True,
) -> apsw.Connection:
    """Open the database of this kind at `path` in WAL mode; make it when `create` and there is none.

    A file of an older version is brought up first, but not when `readonly` or without `bring_up`: readers must cope
    with all versions that have an upgrade. Raises `LogDamaged` for a file that is missing (without `create`), of
    another kind, of a newer version, or unreadable, and for an SQLite that is not safe to use; `LogUnavailable` when
    trying again may help.
    """
    check_version(apsw.sqlite_lib_version())
    with errors_of(path):
        require_files(path)
        if not path.exists():
            _require_creatable(path, schema, create=create and not readonly)
            _build(path, schema)
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            _check_schema(connection, path, schema)
            if not readonly:
                if bring_up:
                    _upgrade(connection, schema)
                connection.pragma("secure_delete", True)  # what is deleted is overwritten with zeros
            connection.pragma("synchronous", synchronous)
        except BaseException:
            connection.close()
            raise
        return connection


def check_version(version: str) -> None:
    """Raise `LogDamaged` when this version of SQLite may damage a database that several processes write."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    if (major, minor, patch) >= FIRST_SAFE or patch >= SAFE_BACKPORTS.get((major, minor), 1_000):
        return
    raise LogDamaged(f"SQLite {version} can corrupt databases in WAL mode; install apsw 3.51.3 or newer")


def require_files(path: Path) -> None:
    """Raise `LogDamaged` when what has the name of this database, or of its WAL, is there and is no file."""
    if (place := no_file(path)) is not None:
        kind = "a directory" if place.is_dir() else "no file"
        raise LogDamaged(f"{place}: is {kind}, and a database is expected there; move it away")


def no_file(path: Path) -> Path | None:
    """What has the name of a database, or of its WAL, and is no file."""
    places = (path, path.with_name(path.name + "-wal"))
    return next((place for place in places if place.exists() and not place.is_file()), None)


class errors_of:
    """Turn SQLite's errors into `LogUnavailable` and `LogDamaged`, with the path in their text."""

    # No generator, which takes four times as long: this is around every append and every read.

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, apsw.Error):
            raise translated(error, self._path) from error
        if isinstance(error, UnicodeDecodeError):  # a number or a blob of which a changed bit has made a text
            raise _damage(self._path, error) from error
        if isinstance(error, OSError):
            raise LogUnavailable(f"{self._path}: {error.strerror or error}") from error


def translated(error: apsw.Error, path: Path) -> LogDamaged | LogUnavailable:
    """What an SQLite error at this path means to us.

    A failed fsync is damage: the kernel may have dropped the pages and would report success the next time
    (wiki.postgresql.org/wiki/Fsync_Errors), so only a new process that reads the disk again can know.
    """
    extended = getattr(error, "extendedresult", 0)
    if extended in _FSYNC_FAILED:
        return LogDamaged(f"{path}: the disk failed to store data (fsync); restart reads what is really there")
    if extended in _READ_FAILED:
        return LogDamaged(f"{path}: cannot be read back from the disk: {error}")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return _damage(path, error)
    if isinstance(error, apsw.FullError):
        return LogUnavailable(f"{path}: the disk is full")
    # The last: a process that was stopped holds what readers wait for (sqlite.org/rescode.html#protocol).
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.ProtocolError):
        return LogUnavailable(f"{path}: is locked by another process for more than {BUSY_TIMEOUT_MS // 1000} s")
    if isinstance(
        error,
        apsw.IOError | apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | apsw.NoMemError,
    ):
        return LogUnavailable(f"{path}: {error}")
    return LogDamaged(f"{path}: {error}")


def _damage(path: Path, error: Exception) -> PageDamaged:
    return PageDamaged(
        f"{path}: is damaged: {error}; stop the system and run `sluicegate fsck --repair`, or restore a backup"
    )


def _require_creatable(path: Path, schema: Schema, *, create: bool) -> None:
    if not create:
        raise LogDamaged(
            f"{path}: the {schema.what} is missing; restore it from a backup, or remove the data directory"
        )
    for leftover in (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")):
        # SQLite would replay it into the new file.
        if leftover.exists() and leftover.stat().st_size:
            raise LogDamaged(f"{path}: the {schema.what} is missing but {leftover.name} is there; restore both")


def _build(path: Path, schema: Schema) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            give_to_owner(handle, path.parent)
            file.write(_image(schema))
            file.flush()
            os.fsync(handle)
        with suppress(FileExistsError):  # another process was faster, with the same
            os.link(name, path)
        fsync(path.parent)
    finally:
        os.unlink(name)


@lru_cache(maxsize=8)
def _image(schema: Schema) -> bytes:
    """An empty database of this kind, as its file is."""
    connection = apsw.Connection(":memory:")
    connection.pragma("page_size", schema.page_size)
    if schema.shrinks:
        connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("application_id", schema.application_id)
    connection.execute(f"BEGIN; {schema.sql}; PRAGMA user_version = {schema.version}; COMMIT")
    image = bytearray(connection.serialize("main"))
    connection.close()
    image[18:20] = b"\2\2"  # in WAL mode (sqlite.org/fileformat2.html#file_format_version_numbers)
    return bytes(image)


def fsync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_schema(connection: apsw.Connection, path: Path, schema: Schema) -> None:
    kind = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if kind != schema.application_id:
        raise LogDamaged(f"{path}: is not a Sluicegate {schema.what}; restore it from a backup")
    if version > schema.version:
        raise LogTooNew(
            f"{path}: was written by a newer version (layout {version}, this one reads {schema.version}); "
            "upgrade Sluicegate"
        )
    if version < schema.version and version not in dict(schema.upgrades):
        raise LogDamaged(
            f"{path}: was written by an older version (layout {version}, this one reads {schema.version}) and "
            "cannot be brought up; let the older Sluicegate deliver what waits, then remove the data directory"
        )


def _upgrade(connection: apsw.Connection, schema: Schema) -> None:
    """Bring an older layout up, one version after the other, in one transaction."""
    if connection.pragma("user_version") == schema.version:
        return
    with transaction(connection):
        upgrade(connection, schema)


def upgrade(connection: apsw.Connection, schema: Schema) -> None:
    """Bring an older layout up inside the caller's transaction."""
    version = connection.pragma("user_version")  # another process may have been faster
    for older, sql in sorted(schema.upgrades):
        if older == version:
            connection.execute(sql)
            version += 1
    connection.execute(f"PRAGMA user_version = {version}")


def fetch(connection: apsw.Connection, sql: str, bindings: apsw.Bindings = ()) -> list[Any]:
    """All rows of a statement, run to its end."""
    return connection.execute(sql, bindings).fetchall()


def fetch_one(connection: apsw.Connection, sql: str, bindings: apsw.Bindings = ()) -> Any:
    """The first row of what always has one; damage like any other where a changed page has none."""
    rows = fetch(connection, sql, bindings)
    if not rows:
        raise apsw.CorruptError("a row that is always there is missing")
    return rows[0]


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """One transaction that takes the write lock at once, so that it never fails half-way for another's commit."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            connection.execute("ROLLBACK")
        raise
