"""The event log in one SQLite file: the default, which needs no set-up.

    rows(first, count, received_at_ms, n_bytes, meta_crc, payload_crc, meta, payload)    one row per group commit
    trimmed(last)                                                      the newest offset that retention removed

The order of columns matters: SQLite reads a row's overflow pages only as far as the last column that is asked for,
so readers of `meta` never touch `payload`. Only `trim` writes `trimmed`; an append writes one row and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import apsw
from google_crc32c import value as crc32c

from sluicegate import failpoints
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.event import EventBatch, check_payload, decode_meta, encode_batch
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.packing import firsts, pack
from sluicegate.sqlite import BUSY_TIMEOUT_MS, Schema, connect, errors_of, fetch, transaction

logger = logging.getLogger(__name__)

SCHEMA = Schema(
    what="event log",
    application_id=0x53476C67,  # "SGlg"
    version=1,
    sql="""
    CREATE TABLE rows (
        first INTEGER PRIMARY KEY, count INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
        meta_crc INTEGER NOT NULL, payload_crc INTEGER NOT NULL, meta BLOB NOT NULL, payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE trimmed (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL) STRICT;
    INSERT INTO trimmed VALUES (1, 0)
    """,
    page_size=8192,  # appends of 50 to 400 KB cost a sixth less CPU than with 4096 (benchmarks/log_commit.py)
)

CHECKPOINT_PAGES = 1_000
"""Pages in the WAL after which `maintain` moves them to the database: 8 MB, written to once per checkpoint."""

AUTO_CHECKPOINT_PAGES = 2_000
"""The same for a log that is never idle; the commit that reaches it pays for it."""

SMALL_BYTES = 8_192
"""A payload up to this size is read together with its meta: it lies on the same page, and another look costs more."""

WAL_MAX_PAGES = 8_000
"""When readers that overlap have kept the WAL from being used again until 64 MB, a checkpoint waits for them."""

CHECKPOINT_WAIT_MS = 100

WAL_KEEP_BYTES = 32 * 1024 * 1024
"""What of the WAL stays allocated after a checkpoint: overwriting is cheaper than growing."""

TRIM_ROWS = 100
"""Rows removed per transaction, so that retention never holds the write lock for long."""

_HEAD = """
    coalesce((SELECT first + count - 1 FROM rows ORDER BY first DESC LIMIT 1), (SELECT last FROM trimmed))
"""
_INSERT = f"INSERT INTO rows SELECT {_HEAD} + 1, ?, ?, ?, ?, ?, ?, ? RETURNING first"
_READ = f"""
    SELECT first, count, received_at_ms, n_bytes, meta_crc, meta,
        CASE WHEN n_bytes <= {SMALL_BYTES} THEN payload_crc END, CASE WHEN n_bytes <= {SMALL_BYTES} THEN payload END
    FROM rows
    WHERE first >= coalesce((SELECT max(first) FROM rows WHERE first <= ?1), 0) AND first + count > ?1
    ORDER BY first
"""
_RECEIVED = """
    SELECT received_at_ms FROM rows
    WHERE first >= coalesce((SELECT max(first) FROM rows WHERE first <= ?1), 0) AND first + count > ?1
    ORDER BY first LIMIT 1
"""
_TRIMMABLE = "SELECT first, count FROM rows WHERE first < ?1 AND first + count <= ?1 ORDER BY first LIMIT ?2"


class SqliteLog(EventLog):
    """The event log in the SQLite file at `path`; without `create` it must be there already."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._db = connect(path, SCHEMA, synchronous="FULL", create=create)
        self._wal_pages = 0
        self._damage: LogDamaged | None = None
        with errors_of(path):
            self._db.pragma("journal_size_limit", WAL_KEEP_BYTES)
        self._db.set_wal_hook(self._on_commit)  # in place of SQLite's own checkpoints
        if failpoints.ARMED:
            self._db.set_commit_hook(_before_commit)

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        """Store the batches in one transaction of one or more rows; see `EventLog.append`."""
        if self._damage is not None:
            raise self._damage
        rows = [self._columns(row, received_at_ms) for row in pack(batches)]
        if not rows:
            return firsts(batches, self.head() + 1)
        try:
            with errors_of(self.path):
                first = self._store(rows)
        except LogDamaged as error:
            self._damage = error
            raise
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.AFTER_COMMIT)
        return firsts(batches, first)

    def head(self) -> Offset:
        """Offset of the newest event; see `EventLog.head`."""
        return self._number(f"SELECT {_HEAD}")

    def tail(self) -> Offset:
        """Offset of the oldest event; see `EventLog.tail`."""
        return self._number(f"SELECT coalesce((SELECT first FROM rows ORDER BY first LIMIT 1), {_HEAD} + 1)")

    def read(self, after: Offset, *, max_events: int, max_bytes: int) -> list[Row]:
        """Rows with events after this offset; see `EventLog.read`."""
        found: list[Row] = []
        with errors_of(self.path), closing(self._db.execute(_READ, (after + 1,))) as cursor:
            for first, count, received_at_ms, n_bytes, crc, meta, payload_crc, payload in cursor:
                max_events -= count
                max_bytes -= n_bytes
                if found and (max_events < 0 or max_bytes < 0):
                    break
                self._verify(meta, crc, first)
                small = None if payload is None else (payload_crc, payload)
                found.append(Row(first, count, received_at_ms, decode_meta(meta), n_bytes, small))
        return found

    def payload(self, row: Row) -> bytes:
        """The event bytes of a row; see `EventLog.payload`."""
        crc, payload = row.small or self._fetch_payload(row)
        self._verify(payload, crc, row.first)
        check_payload(payload, row.meta.bounds)
        return payload

    def _fetch_payload(self, row: Row) -> tuple[int, bytes]:
        with errors_of(self.path):
            found = fetch(self._db, "SELECT payload_crc, payload FROM rows WHERE first = ?", (row.first,))
        if not found:
            raise RowGone(f"events {row.first} to {row.last} were removed by retention; read again")
        crc, payload = found[0]
        return crc, payload

    def received_at_ms(self, after: Offset) -> int | None:
        """When the first event after this offset arrived; see `EventLog.received_at_ms`."""
        with errors_of(self.path):
            found = fetch(self._db, _RECEIVED, (after + 1,))
        return found[0][0] if found else None

    def trim(self, before: Offset) -> int:
        """Forget whole rows; the file keeps its size and uses the space again. See `EventLog.trim`."""
        gone = 0
        with errors_of(self.path):
            while n_events := self._trim_some(before):
                gone += n_events
        return gone

    @property
    def needs_maintenance(self) -> bool:
        """Whether the WAL was past its mark at the last append of this instance."""
        return self._wal_pages >= CHECKPOINT_PAGES

    def maintain(self) -> None:
        """Move what has gathered in the WAL to the database; raises `LogDamaged` when the disk fails at it."""
        if self._damage is not None:
            return
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE if self._wal_pages < WAL_MAX_PAGES else apsw.SQLITE_CHECKPOINT_TRUNCATE
        self._wal_pages = 0
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.IN_CHECKPOINT)
        try:
            with errors_of(self.path):
                # The second kind waits for readers, and others' appends wait for it.
                self._db.set_busy_timeout(CHECKPOINT_WAIT_MS)
                self._db.wal_checkpoint(mode=mode)
        except LogUnavailable as error:
            elsewhere = isinstance(error.__cause__, apsw.BusyError)  # another process or thread is at it
            level = logging.DEBUG if elsewhere else logging.WARNING
            logger.log(level, "the event log's WAL could not be moved to the database: %s", error)
        finally:
            self._db.set_busy_timeout(BUSY_TIMEOUT_MS)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _columns(self, row: EventBatch, received_at_ms: int) -> tuple[int | bytes, ...]:
        meta, payload = encode_batch(row)
        return len(row), received_at_ms, len(payload), crc32c(meta), crc32c(payload), meta, payload

    def _store(self, rows: Sequence[tuple[int | bytes, ...]]) -> Offset:
        if len(rows) == 1:  # a statement is a transaction of its own; each further call costs a turn of the GIL
            return self._insert(rows[0])
        with transaction(self._db):
            first, *_ = [self._insert(row) for row in rows]
        return first

    def _insert(self, columns: tuple[int | bytes, ...]) -> Offset:
        # To the end: the transaction commits with the last step, after the row that RETURNING gives.
        first: Offset = fetch(self._db, _INSERT, columns)[0][0]
        return first

    def _on_commit(self, db: apsw.Connection, name: str, n_pages: int) -> int:
        self._wal_pages = n_pages
        if n_pages >= AUTO_CHECKPOINT_PAGES:
            try:
                self.maintain()
            except LogDamaged as error:  # this commit is on disk; the next one must not be tried
                self._damage = error
        return apsw.SQLITE_OK

    def _trim_some(self, before: Offset) -> int:
        with transaction(self._db):
            old = fetch(self._db, _TRIMMABLE, (before, TRIM_ROWS))
            if not old:
                return 0
            self._db.execute("DELETE FROM rows WHERE first <= ?", (old[-1][0],))
            self._db.execute("UPDATE trimmed SET last = ?", (old[-1][0] + old[-1][1] - 1,))
        return sum(count for _, count in old)

    def _number(self, sql: str) -> int:
        with errors_of(self.path):
            value: int = fetch(self._db, sql)[0][0]
        return value

    def _verify(self, data: bytes, crc: int, first: Offset) -> None:
        if crc32c(data) != crc:
            raise LogDamaged(f"{self.path}: the row of event {first} is damaged; restore the log from a backup")


def _before_commit() -> bool:
    """SQLite calls it before every commit of a connection with armed failpoints; True would roll back."""
    failpoints.hit(failpoints.Point.BEFORE_COMMIT)
    return False
