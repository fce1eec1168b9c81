"""Erasing events from rows of the log: an empty object keeps the place of each, and every other event stays as it is.

Rows are dense and sealed, so an erased event is not removed: its bytes become `{}`, its ids and its time nothing, and
its combination one of the type `erased`, by which every reader knows that it is nobody's. Its row gets a new seal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
from google_crc32c import value as crc32c

from sluicegate.event import ERASED, MAX_COMBOS, bounds_of, decode_meta, pack_bounds, split_payload
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.compression import PayloadCodec
from sluicegate.eventlog.rows import check_payload_crc, checked_row, sealed_row
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.gaps import clear_gaps
from sluicegate.sqlite import connect, errors_of, fetch, transaction

EMPTY = b"{}"
_NOTHING: tuple[Any, ...] = ("", None, None, 0)
"""What stands for an erased event in the columns of a meta: message id, user, visitor, time; None in further ones."""
_COMBO = [ERASED, "", [], [], [], False]


class Piece(NamedTuple):
    """A row to be: as many events, its meta and its payload."""

    n_events: int
    meta: bytes
    payload: bytes


def without(meta: bytes, payload: bytes, places: Collection[int]) -> list[Piece]:
    """The row without the events at these places; several rows when it would have more than 256 combinations.

    `meta` and `payload` are as `sluicegate.event` has the layout. Raises `RowDamaged` for what is none.
    """
    events = split_payload(payload, decode_meta(meta).bounds)
    version, packed, codes, _, *columns = msgpack.unpackb(meta)
    known = msgpack.unpackb(packed)
    combos = [known[code] for code in codes]
    lists = [msgpack.unpackb(column) for column in columns]
    for place in places:
        events[place], combos[place] = EMPTY, _COMBO
        for index, column in enumerate(lists):
            column[place] = _NOTHING[index] if index < len(_NOTHING) else None
    return list(_pieces(version, combos, lists, events))


def _pieces(version: int, combos: list[Any], columns: list[list[Any]], events: list[bytes]) -> Iterator[Piece]:
    distinct: dict[bytes, int] = {}
    codes = [distinct.setdefault(msgpack.packb(combo), len(distinct)) for combo in combos]
    if len(distinct) > MAX_COMBOS:
        half = len(events) // 2
        yield from _pieces(version, combos[:half], [column[:half] for column in columns], events[:half])
        yield from _pieces(version, combos[half:], [column[half:] for column in columns], events[half:])
        return
    packed = msgpack.packb([msgpack.unpackb(combo) for combo in distinct])
    bounds = pack_bounds(bounds_of(events))
    meta = msgpack.packb([version, packed, bytes(codes), bounds, *map(msgpack.packb, columns)])
    yield Piece(len(events), meta, b",".join(events))


class LogEraser:
    """Rewrites rows of the log at `path`, one in a transaction, which keeps appends waiting for milliseconds.

    Each is on disk before the next: whoever starts after a power cut takes more than one lost transaction for damage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path, SCHEMA, create=False)
        self._codec = PayloadCodec()

    def erase(self, first: Offset, places: Collection[int]) -> int:
        """Erase events, by the first offset of their row and their places in it.

        Returns how many were erased: none of a row that retention has removed meanwhile. Raises `RowDamaged` for a row
        that is not what was stored, and then leaves it as it was.
        """
        if not places:
            return 0
        with errors_of(self._path), transaction(self._db):
            return self._rewrite(first, places)

    def _rewrite(self, first: Offset, places: Collection[int]) -> int:
        found = fetch(self._db, "SELECT * FROM rows WHERE first = ?", (first,))
        if not found:
            return 0
        _, count, received_at_ms, n_bytes, seal, crc, meta, stored = found[0]
        checked_row(first, count, received_at_ms, n_bytes, seal, meta)
        check_payload_crc(stored, crc)
        pieces = without(meta, self._codec.restored(stored, n_bytes), places)
        self._db.execute("DELETE FROM rows WHERE first = ?", (first,))
        for piece in pieces:
            stored = self._codec.stored(piece.payload)
            numbers = sealed_row(first, piece.n_events, received_at_ms, len(piece.payload), piece.meta)
            row = (*numbers, crc32c(stored), piece.meta, stored)
            self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            first += piece.n_events
        return len(places)

    def leave_nothing(self) -> None:
        """Overwrite what was left of erased events beside the rows, and cut the WAL to nothing.

        Raises `LogUnavailable` when somebody reads for too long.
        """
        clear_gaps(self._db, self._path)

    def close(self) -> None:
        """Release the file."""
        self._db.close()
