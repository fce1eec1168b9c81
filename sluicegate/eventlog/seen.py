"""Which events the log has had before: the same message id from the same source within the window.

Ids are checked against an `IdWindow` in memory and appended in one step that fails when another process has appended
in between, whose ids are then taken in first. So what the window says is always the state of the log that the append
goes on from. The rows of the log are the only record that counts; blocks of hashes beside them only save a start from
reading all rows of a day. Damage to either costs ids, of which the log warns, and keeps nobody from appending:

    seen_ids(last, newest_ms, hashes)    the hashes of the events up to offset `last`, by `splitset.to_bytes`;
                                         `last` = 0 holds the hash key
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress, islice, repeat
from threading import Lock

import apsw
from xxhash import xxh3_64_intdigest

from sluicegate.config.model import LogConfig
from sluicegate.errors import LogDamaged
from sluicegate.event import EventBatch, Meta
from sluicegate.eventlog.base import Offset, Row
from sluicegate.eventlog.idwindow import Block, IdWindow
from sluicegate.eventlog.rows import checked_row
from sluicegate.eventlog.splitset import Hashes, from_bytes, to_bytes
from sluicegate.sqlite import fetch, transaction

logger = logging.getLogger(__name__)

SEEN_SQL = """
    CREATE TABLE IF NOT EXISTS seen_ids (
        last INTEGER PRIMARY KEY, newest_ms INTEGER NOT NULL, hashes BLOB NOT NULL
    ) STRICT
"""
MAX_SOURCES = 10_000
"""Sources whose hash key is remembered; applications choose their own."""

_KEY_BYTES = 16
_DAMAGE = (apsw.CorruptError, UnicodeDecodeError)
"""What a damaged page raises, and a number or a blob of which a changed bit has made a text."""
_SAVED = "SELECT last, newest_ms, hashes FROM seen_ids WHERE last > ? AND last <= ? ORDER BY last"
_ROWS = """
    SELECT first, count, received_at_ms, n_bytes, seal, meta FROM rows WHERE first > ? AND first <= ? ORDER BY first
"""


@dataclass(slots=True)
class Claim:
    """What of some batches is new: the batches themselves when all of it is."""

    batches: Sequence[EventBatch]
    hashes: Hashes
    at_ms: int
    n_new: list[int] | None = None
    """New events of each batch as it came; None when all are."""
    n_duplicates: int = 0

    def offsets(self, first: Offset, came: Sequence[EventBatch]) -> list[Offset]:
        """The offset of each batch's first new event; 0 for one that has only what was there before."""
        offsets = []
        for batch, n_new in zip(came, self.n_new or map(len, came), strict=True):
            offsets.append(0 if len(batch) and not n_new else first)
            first += n_new
        return offsets


class SeenIds:
    """The ids that the log has seen lately; one per process and log, for any number of its `SqliteLog`s.

    Whoever calls a method holds `lock`, from the claim until the claim is kept or released.
    """

    def __init__(self, *, window_s: float, max_ids: int) -> None:
        self.lock = Lock()
        self._saving = Lock()
        self.head: Offset = 0
        """How far the log has been taken in."""
        self.loaded = False
        self._saves = True
        self._unusable_after: Offset | None = None
        """What is saved of later events cannot be read, and is replaced."""
        self._window_ms = int(window_s * 1000)
        self._max_ids = max_ids
        self._window = self._empty()
        self._key = b""
        self._seeds: dict[str, int] = {}

    @classmethod
    def of(cls, config: LogConfig) -> SeenIds | None:
        """As configured; None when the window is 0."""
        if not config.dedup_window_s:
            return None
        return cls(window_s=config.dedup_window_s, max_ids=config.dedup_max_ids)

    def _empty(self) -> IdWindow:
        return IdWindow(window_ms=self._window_ms, max_ids=self._max_ids)

    @property
    def n_ids(self) -> int:
        """How many ids are remembered."""
        return len(self._window)

    @property
    def covers_s(self) -> float:
        """How far back ids are known: the configured window, or less when there were too many."""
        return self._window.covers_ms() / 1000

    # -- an append --------------------------------------------------------------------------------------------------

    def claim(self, batches: Sequence[EventBatch], at_ms: int) -> Claim:
        """Claim the ids of the events that are new, and leave out the others."""
        hashes = Hashes()
        for batch in batches:
            hashes += self._hashes(batch)
        if self._window.claim(hashes, at_ms):
            return Claim(batches, hashes, at_ms)
        return self._cut(batches, hashes, at_ms)

    def _cut(self, batches: Sequence[EventBatch], hashes: Hashes, at_ms: int) -> Claim:
        mask = self._window.claim_new(hashes, at_ms)
        rest = iter(mask)
        masks = [list(islice(rest, len(batch))) for batch in batches]
        return Claim(
            batches=[batch.select(one) for batch, one in zip(batches, masks, strict=True)],
            hashes=Hashes(compress(hashes, mask)),
            at_ms=at_ms,
            n_new=list(map(sum, masks)),
            n_duplicates=len(mask) - sum(mask),
        )

    def keep(self, claim: Claim) -> None:
        """The claim's events are on disk."""
        if claim.hashes:
            self.head += len(claim.hashes)
            self._window.keep(claim.hashes, claim.at_ms, last=self.head)

    def release(self, claim: Claim) -> None:
        """The claim's events are not stored."""
        self._window.release(claim.hashes)

    # -- the log ----------------------------------------------------------------------------------------------------

    def load(self, db: apsw.Connection, *, head: Offset, now_ms: int) -> None:
        """Take in what the log holds of the window."""
        self._window = self._empty()
        oldest_ms = now_ms - self._window_ms
        self.head = max(0, head - self._max_ids)
        try:
            self._key = _hash_key(db)
        except (*_DAMAGE, ValueError) as error:
            self._key, self._saves = os.urandom(_KEY_BYTES), False  # what is saved was hashed with another key
            logger.warning("the saved message ids cannot be used: %s", error)
        else:
            self._load_saved(db, head, oldest_ms)
        self.absorb(db, head=head, since_ms=oldest_ms)
        self.loaded = True

    def _load_saved(self, db: apsw.Connection, head: Offset, oldest_ms: int) -> None:
        try:
            for last, newest_ms, blob in db.execute(_SAVED, (self.head, head)):
                if newest_ms >= oldest_ms:
                    self._window.add_saved(from_bytes(blob), newest_ms, last=last)
                self.head = last
        except (*_DAMAGE, TypeError, ValueError) as error:
            self._unusable_after = self.head
            logger.warning("the message ids after event %d are taken from the rows: %s", self.head, error)

    def absorb(self, db: apsw.Connection, *, head: Offset, since_ms: int = 0) -> None:
        """Take in the rows up to the log's head that others have appended."""
        for row in _whole_rows(db, self.head, head):
            if row.received_at_ms >= since_ms:
                try:
                    hashes = self._row_hashes(row.meta)
                except LogDamaged as error:
                    _warn(row.first, error)
                    continue
                self._window.add(hashes, row.received_at_ms, last=row.last)
        self.head = head  # beyond what is damaged, or was removed by retention

    def save(self, db: apsw.Connection) -> None:
        """Write what a start would else have to read from the rows; not needed for anything else."""
        with self._saving:
            with self.lock:
                blocks = self._window.unsaved() if self.loaded and self._saves else []
            for block in blocks:
                # An append waits for the lock no longer than for one block. Otherwise SQLite would have it sleep until
                # it happens to find the database free, for several milliseconds.
                with self.lock:
                    try:
                        self._write(db, block)
                    except _DAMAGE as error:
                        self._saves = False  # a start reads on where the blocks end, so none may be left out
                        logger.warning("message ids are not saved any more, and a start takes longer: %s", error)
                        return
                    self._window.saved([block])

    def _write(self, db: apsw.Connection, block: Block) -> None:
        with transaction(db):
            if self._unusable_after is not None:
                db.execute("DELETE FROM seen_ids WHERE last > ?", (self._unusable_after,))
            if block.last > fetch(db, "SELECT coalesce(max(last), 0) FROM seen_ids")[0][0]:
                values = block.last, block.newest_ms, to_bytes(block.parts)
                db.execute("INSERT INTO seen_ids VALUES (?, ?, ?)", values)
            db.execute(
                "DELETE FROM seen_ids WHERE last > 0 AND (newest_ms < ? OR last <= ?)",
                (self._window.expired_before_ms, block.last - self._max_ids),
            )
        self._unusable_after = None

    # -- hashes -----------------------------------------------------------------------------------------------------

    def _hashes(self, batch: EventBatch) -> Iterable[int]:
        sources = {combo.source for combo in batch.combos}
        if len(sources) == 1:
            return _hashed(batch.message_ids, self._seed(sources.pop()))
        return (
            xxh3_64_intdigest(message_id.encode(), self._seed(combo.source))
            for message_id, combo in zip(batch.message_ids, batch.combos, strict=True)
        )

    def _row_hashes(self, meta: Meta) -> Hashes:
        seeds = [self._seed(combo.source) for combo in meta.combos]
        if len(set(seeds)) == 1:
            return Hashes(_hashed(meta.message_ids, seeds[0]))
        return Hashes(
            xxh3_64_intdigest(message_id.encode(), seeds[index])
            for message_id, index in zip(meta.message_ids, meta.combo_of, strict=True)
        )

    def _seed(self, source: str) -> int:
        seed = self._seeds.get(source)
        if seed is None:
            if len(self._seeds) >= MAX_SOURCES:
                self._seeds.clear()
            digest = blake2b(source.encode(), key=self._key, digest_size=8).digest()
            seed = self._seeds[source] = int.from_bytes(digest)
        return seed


def _whole_rows(db: apsw.Connection, after: Offset, head: Offset) -> Iterator[Row]:
    """The rows that begin between these offsets and are whole; a page that cannot be read is jumped over."""
    step = 1
    while after < head:
        try:
            for columns in db.execute(_ROWS, (after, head)):
                if columns[0] <= after:  # a damaged tree may lead back
                    continue
                after, step = columns[0], 1
                try:
                    row = checked_row(*columns)
                except LogDamaged as error:  # whoever reads the row will say so; its ids cannot be known
                    _warn(after, error)
                    continue
                yield row
            return
        except _DAMAGE as error:
            if step == 1:
                _warn(after + 1, error)
            after, step = after + step, 2 * step


def _warn(offset: Offset, error: Exception) -> None:
    logger.warning("the message ids of event %d and some after it are not known: %s", offset, error)


def _hashed(message_ids: Sequence[str], seed: int) -> Iterable[int]:
    return map(xxh3_64_intdigest, map(str.encode, message_ids), repeat(seed))


def _hash_key(db: apsw.Connection) -> bytes:
    """The log's own key, so that nobody can choose ids that collide; made when there is none."""
    if not fetch(db, "SELECT 1 FROM sqlite_schema WHERE name = 'seen_ids'"):
        db.execute(SEEN_SQL)  # the log was made by an older version
    find = "SELECT hashes FROM seen_ids WHERE last = 0"
    if not fetch(db, find):
        db.execute("INSERT OR IGNORE INTO seen_ids VALUES (0, 0, randomblob(?))", (_KEY_BYTES,))
    key: bytes = fetch(db, find)[0][0]
    if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
        raise ValueError("their key is damaged")
    return key
