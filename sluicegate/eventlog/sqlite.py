"""The event log in one SQLite file: the default, which needs no set-up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import apsw
from google_crc32c import value as crc32c

from sluicegate import failpoints
from sluicegate.errors import LogDamaged, LogUnavailable, PageDamaged, RowDamaged
from sluicegate.event import EventBatch, check_payload, encode_batch
from sluicegate.eventlog.base import EventLog, Offset, Row, RowGone
from sluicegate.eventlog.checkpoints import Checkpoints
from sluicegate.eventlog.compression import PayloadCodec
from sluicegate.eventlog.packing import firsts, pack
from sluicegate.eventlog.rescue import Rescue
from sluicegate.eventlog.rows import check_payload_crc, checked_row, half_seal
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.seen import Claim, SeenIds
from sluicegate.sqlite import connect, errors_of, fetch, transaction

logger = logging.getLogger(__name__)

SMALL_BYTES = 8_192
"""A payload up to this size is read together with its meta: it lies on the same page, and another look costs more."""

TRIM_ROWS = 100
"""Rows removed per transaction, so that retention never holds the write lock for long."""

SHRINK_PAGES = 256
"""Pages given back per transaction: 2 MB, of which each may have to be moved."""

KEEP_FREE_PAGES = 4_096
"""Free pages that are kept for the next events: 32 MB, or a quarter of the file."""

_HEAD = """
    coalesce(
        (SELECT CAST(first + count - 1 AS INTEGER) FROM rows ORDER BY first DESC LIMIT 1), (SELECT last FROM trimmed)
    )
"""
_INSERT = f"""
    INSERT INTO rows SELECT first, ?, ?, ?, (? + first + (first >> 32)) & 4294967295, ?, ?, ?
    FROM (SELECT {_HEAD} + 1 AS first) RETURNING first
"""
_INSERT_AFTER = f"""
    INSERT INTO rows SELECT ?8 + 1, ?1, ?2, ?3, (?4 + ?8 + 1 + ((?8 + 1) >> 32)) & 4294967295, ?5, ?6, ?7
    WHERE ?8 = {_HEAD} RETURNING first
"""
"""Only if nobody has appended since the head was ?8: one statement, and so one transaction, checks and inserts."""
_READ = f"""
    SELECT first, count, received_at_ms, n_bytes, seal, meta,
        CASE WHEN length(payload) <= {SMALL_BYTES} THEN payload_crc END,
        CASE WHEN length(payload) <= {SMALL_BYTES} THEN payload END
    FROM rows
    WHERE first >= coalesce((SELECT max(first) FROM rows WHERE first <= ?1), 0) AND first + count > ?1
    ORDER BY first
"""
_RECEIVED = """
    SELECT received_at_ms FROM rows
    WHERE first >= coalesce((SELECT max(first) FROM rows WHERE first <= ?1), 0) AND first + count > ?1
    ORDER BY first LIMIT 1
"""
_TRIMMABLE = """
    SELECT first, past FROM (
        SELECT first, coalesce((SELECT min(first) FROM rows AS others WHERE others.first > rows.first),
            first + CAST(count AS INTEGER))
            AS past
        FROM rows WHERE first < ?1 ORDER BY first LIMIT ?2
    ) WHERE past <= ?1
"""
"""Rows and where the next ones begin: a damaged count must not keep a row for ever."""
_ID_BYTES = "SELECT coalesce(sum(length(hashes)), 0) FROM seen_ids"
"""Reads no hashes, only their lengths: 0.2 ms for 2 million ids, 6 ms for 100 million."""


class SqliteLog(EventLog):
    """The event log in the SQLite file at `path`; without `create` it must be there already.

    `reader` is who is told in the quarantine ledger to have met damage: a destination's id, "router". None is for a
    look alone: nothing is written, not even what is due in the database.
    With `seen`, events that it knows are not appended again; all logs of this path in a process share it.
    """

    def __init__(
        self, path: Path, *, create: bool = True, reader: str | None = "reader", seen: SeenIds | None = None
    ) -> None:
        self.path = path
        self._seen = seen
        self._db = connect(path, SCHEMA, synchronous="FULL", create=create)
        # Overwriting whole free pages would need as much room as trimming gives back, on a disk that may be full. They
        # keep what was in them until they are used again, or until `shrink` gives them back, as erasing has it do.
        self._db.pragma("secure_delete", "FAST")
        self._rescue = Rescue(self._db, path, head=self.head, reader=reader)
        self._checkpoints = Checkpoints(self._db, path)
        self._codec = PayloadCodec()
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, reader is None)
        if failpoints.ARMED:
            self._db.set_commit_hook(_before_commit)

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        """Store the batches in one transaction of one or more rows; see `EventLog.append`."""
        if self._checkpoints.damage is not None:
            raise self._checkpoints.damage
        try:
            with errors_of(self.path):
                if self._seen is None:
                    offsets = self._append_all(batches, received_at_ms)
                else:
                    with self._seen.lock:
                        offsets = self._append_new(self._seen, batches, received_at_ms)
        except LogDamaged as error:
            self._checkpoints.distrust(error)
            raise
        if failpoints.ARMED:
            failpoints.hit(failpoints.Point.AFTER_COMMIT)
        return offsets

    def load_seen(self, *, now_ms: int) -> None:
        """Take the known message ids into memory now rather than at the first append."""
        if self._seen is not None:
            with errors_of(self.path), self._seen.lock:
                self._load(self._seen, now_ms)

    def head(self) -> Offset:
        """Offset of the newest event; see `EventLog.head`."""
        return self._number(f"SELECT {_HEAD}")

    def tail(self) -> Offset:
        """Offset of the oldest event; see `EventLog.tail`."""
        try:
            return self._number(f"SELECT coalesce((SELECT first FROM rows ORDER BY first LIMIT 1), {_HEAD} + 1)")
        except PageDamaged:
            return self.forgotten() + 1

    def read(self, after: Offset, *, max_events: int, max_bytes: int) -> list[Row]:
        """Rows with events after this offset; see `EventLog.read`."""
        try:
            found = self._read(after, max_events=max_events, max_bytes=max_bytes)
        except (PageDamaged, RowDamaged) as error:
            found, why = [], str(error)
        else:
            if (found and found[0].first <= after + 1) or (not found and self.head() <= after):
                return found
            why = "nothing leads to it"
        return self._rescue.read(after, max_events=max_events, max_bytes=max_bytes, why=why, reached=found)

    def _read(self, after: Offset, *, max_events: int, max_bytes: int) -> list[Row]:
        """The rows that lie side by side and are whole; raises what is wrong with the first one."""
        found: list[Row] = []
        due = 0
        with errors_of(self.path), closing(self._db.execute(_READ, (after + 1,))) as cursor:
            try:
                for first, count, received_at_ms, n_bytes, seal, meta, payload_crc, payload in cursor:
                    max_events -= count
                    max_bytes -= n_bytes
                    if found and (max_events < 0 or max_bytes < 0 or first != due):
                        break
                    small = None if payload is None else (payload_crc, payload)
                    found.append(checked_row(first, count, received_at_ms, n_bytes, seal, meta, small))
                    due = first + count
            except (apsw.CorruptError, RowDamaged, UnicodeDecodeError):
                if not found:  # the next look begins with it
                    raise
            except TypeError:  # a number of which a changed bit has made a text, or nothing
                if not found:
                    raise RowDamaged("a column is missing or of another type") from None
        return found

    def payload(self, row: Row) -> bytes:
        """The event bytes of a row; see `EventLog.payload`. What is damaged is in the ledger when it raises."""
        try:
            if row.damage is not None:
                raise RowDamaged(row.damage)
            crc, stored = row.small or self._fetch_payload(row)
            check_payload_crc(stored, crc)
        except (PageDamaged, RowDamaged) as error:
            stored = self._rescue.payload(row, why=str(error))
        payload = self._codec.restored(stored, row.n_bytes)
        check_payload(payload, row.meta.bounds)
        return payload

    def _fetch_payload(self, row: Row) -> tuple[int, bytes]:
        with errors_of(self.path):
            found = fetch(self._db, "SELECT n_bytes, payload_crc, payload FROM rows WHERE first = ?", (row.first,))
        if not found:
            if row.first > self._rescue.forgotten():
                raise RowDamaged("it cannot be found any more")
            raise RowGone(f"events {row.first} to {row.last} were removed by retention; read again")
        n_bytes, crc, payload = found[0]
        if n_bytes != row.n_bytes:  # erasing always makes a row smaller
            raise RowGone(f"some of the events {row.first} to {row.last} were erased; read again")
        return crc, payload

    def received_at_ms(self, after: Offset) -> int | None:
        """When the first event after this offset arrived; see `EventLog.received_at_ms`."""
        try:
            with errors_of(self.path):
                found = fetch(self._db, _RECEIVED, (after + 1,))
        except PageDamaged:
            return super().received_at_ms(after)
        if found and not isinstance(found[0][0], int):
            return super().received_at_ms(after)
        return found[0][0] if found else None

    def used_bytes(self) -> int:
        """What the events take of the file, without the hashes of their ids; see `EventLog.used_bytes`."""
        with errors_of(self.path):
            n_pages: int = self._db.pragma("page_count") - self._db.pragma("freelist_count")
            return max(0, n_pages * SCHEMA.page_size - self._id_bytes())

    def _id_bytes(self) -> int:
        try:
            n_bytes: int = fetch(self._db, _ID_BYTES)[0][0]
        except (apsw.CorruptError, apsw.SQLError):  # it is damaged, or not there in a log of an older version
            return 0
        return n_bytes

    def shrink(self, *, entirely: bool = False) -> int:
        """Give back space when much of the file is free; one made by an older version stays. See `EventLog.shrink`."""
        given_back: int = 0
        with errors_of(self.path):
            while surplus := self._surplus_pages(entirely=entirely):
                before = self._db.pragma("page_count")
                fetch(self._db, f"PRAGMA incremental_vacuum({min(surplus, SHRINK_PAGES)})")
                n_pages: int = before - self._db.pragma("page_count")
                if n_pages <= 0:
                    break
                given_back += n_pages
        if given_back:
            self._checkpoints.move()  # which cuts the file
        return given_back * SCHEMA.page_size

    def _surplus_pages(self, *, entirely: bool) -> int:
        n_free: int = self._db.pragma("freelist_count")
        n_pages: int = self._db.pragma("page_count")
        return n_free if entirely else max(0, n_free - max(KEEP_FREE_PAGES, n_pages // 4))

    def trim(self, before: Offset) -> int:
        """Forget whole rows; the file uses the space again, and `shrink` gives it back. See `EventLog.trim`."""
        gone = 0
        with errors_of(self.path):
            while n_events := self._trim_some(before):
                gone += n_events
        return gone

    @property
    def needs_maintenance(self) -> bool:
        """Whether the WAL was past its mark at the last append of this instance."""
        return self._checkpoints.wal_pages >= self._checkpoints.mark

    def maintain(self) -> None:
        """Move what has gathered in the WAL to the database; raises `LogDamaged` when the disk fails at it."""
        if self._checkpoints.damage is not None:
            return
        if self._seen is not None:
            self._save(self._seen)
        self._checkpoints.move()

    def finish_maintenance(self) -> None:
        """Move what was appended meanwhile too: only when nothing is left is the WAL used from its start again."""
        if self._checkpoints.damage is None:
            self._checkpoints.move()

    def _save(self, seen: SeenIds) -> None:
        try:
            with errors_of(self.path):
                self._db.pragma("synchronous", "NORMAL")  # what is lost is read from the rows
                seen.save(self._db)
        except LogUnavailable as error:
            logger.debug("the known message ids could not be saved: %s", error)
        finally:
            self._db.pragma("synchronous", "FULL")

    def faults(self, *, at_most: int = 100) -> list[str]:
        """What SQLite finds wrong with the file as a database, in its words; reads all of it."""
        with errors_of(self.path):
            found = fetch(self._db, f"PRAGMA integrity_check({at_most})")
        return [text for (text,) in found if text != "ok"]

    def forgotten(self) -> Offset:
        """The newest offset that retention removed, as far as that can be believed."""
        return self._rescue.forgotten()

    def trimmed(self) -> Offset | None:
        """The same; None when what the log says of it cannot be believed."""
        return self._rescue.trimmed()

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _append_all(self, batches: Sequence[EventBatch], received_at_ms: int) -> list[Offset]:
        rows = [self._columns(row, received_at_ms) for row in pack(batches)]
        return firsts(batches, self._store(rows) if rows else self.head() + 1)

    def _append_new(self, seen: SeenIds, batches: Sequence[EventBatch], received_at_ms: int) -> list[Offset]:
        """Append what `seen` does not know; first in the belief that nobody else has appended since it was told."""
        if not seen.loaded:
            self._load(seen, received_at_ms)
        claim, first = self._claim_and_store(seen, batches, received_at_ms)
        if first is None:
            claim, first = self._append_behind_others(seen, batches, received_at_ms)
        seen.keep(claim)
        self.n_left_out = claim.n_duplicates
        return claim.offsets(first, batches)

    def _append_behind_others(
        self, seen: SeenIds, batches: Sequence[EventBatch], received_at_ms: int
    ) -> tuple[Claim, Offset]:
        """Take in what others have appended and store what is new then, in one transaction."""
        first = None
        try:
            with transaction(self._db):
                seen.absorb(self._db, head=self.head())
                claim, first = self._claim_and_store(seen, batches, received_at_ms)
        except BaseException:
            if first is not None:  # it was stored, but could not be committed
                seen.release(claim)
            raise
        assert first is not None
        return claim, first

    def _claim_and_store(
        self, seen: SeenIds, batches: Sequence[EventBatch], received_at_ms: int
    ) -> tuple[Claim, Offset | None]:
        claim = seen.claim(batches, received_at_ms)
        first = None
        try:
            first = self._store_claimed(seen, claim)
        finally:
            if first is None:
                seen.release(claim)
        return claim, first

    def _store_claimed(self, seen: SeenIds, claim: Claim) -> Offset | None:
        """Store what is new right after the head that `seen` knows; None when that is not the head any more."""
        rows = [self._columns(row, claim.at_ms) for row in pack(claim.batches)]
        if len(rows) == 1:
            return self._insert_after(seen.head, rows[0])
        if self._db.in_transaction:
            return self._insert_all(rows) if rows else seen.head + 1
        if not rows:
            return seen.head + 1
        with transaction(self._db):
            return self._insert_all(rows) if self._number(f"SELECT {_HEAD}") == seen.head else None

    def _load(self, seen: SeenIds, now_ms: int) -> None:
        if not seen.loaded:
            seen.load(self._db, head=self.head(), now_ms=now_ms)

    def _columns(self, row: EventBatch, received_at_ms: int) -> tuple[int | bytes, ...]:
        meta, payload = encode_batch(row)
        stored = self._codec.stored(payload)
        seal = half_seal(meta, count=len(row), received_at_ms=received_at_ms, n_bytes=len(payload))
        return len(row), received_at_ms, len(payload), seal, crc32c(stored), meta, stored

    def _store(self, rows: Sequence[tuple[int | bytes, ...]]) -> Offset:
        if len(rows) == 1:  # a statement is a transaction of its own; each further call costs a turn of the GIL
            return self._insert(rows[0])
        with transaction(self._db):
            return self._insert_all(rows)

    def _insert_all(self, rows: Sequence[tuple[int | bytes, ...]]) -> Offset:
        first, *_ = [self._insert(row) for row in rows]
        return first

    def _insert_after(self, head: Offset, columns: tuple[int | bytes, ...]) -> Offset | None:
        found = fetch(self._db, _INSERT_AFTER, (*columns, head))
        return found[0][0] if found else None

    def _insert(self, columns: tuple[int | bytes, ...]) -> Offset:
        # To the end: the transaction commits with the last step, after the row that RETURNING gives.
        first: Offset = fetch(self._db, _INSERT, columns)[0][0]
        return first

    def _trim_some(self, before: Offset) -> int:
        with transaction(self._db):
            old = fetch(self._db, _TRIMMABLE, (before, TRIM_ROWS))
            if not old:
                return 0
            last_row, past = old[-1]
            self._db.execute("DELETE FROM rows WHERE first <= ?", (last_row,))
            self._db.execute("UPDATE trimmed SET last = ?", (past - 1,))
        n_events: int = past - old[0][0]
        return n_events

    def _number(self, sql: str) -> int:
        with errors_of(self.path):
            value = fetch(self._db, sql)[0][0]
            if not isinstance(value, int):
                raise apsw.CorruptError("it does not tell where it ends")
        return value


def _before_commit() -> bool:
    """SQLite calls it before every commit of a connection with armed failpoints; True would roll back."""
    failpoints.hit(failpoints.Point.BEFORE_COMMIT)
    return False
