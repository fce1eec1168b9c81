"""Rows of the log found in its pages, where the tree above them is damaged.

Rows never change, but for events that are erased, and offsets are never used twice, so any copy of a row whose seal is
right is the row. Whoever erases overwrites the older copies (`sluicegate.gaps`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sluicegate.errors import RowDamaged
from sluicegate.eventlog.base import Offset, Row
from sluicegate.eventlog.rows import N_COLUMNS, check_payload_crc, checked_row
from sluicegate.pages import Cell, Pages, columns

_HEADER_BYTES = 96
"""More than the numbers in front of a row's meta ever take."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row that is whole but for its events, which have not been looked at; where they lie and their checksum."""

    row: Row
    place: int
    payload: range
    payload_crc: int
    meta: bytes
    seal: int

    @property
    def first(self) -> Offset:
        """Offset of the row's first event."""
        return self.row.first


def find_rows(
    pages: Pages, first: Offset, last: Offset, *, progress: Callable[[int], object] = lambda n: None
) -> Iterator[Found]:
    """Rows that lie between two offsets as a whole, in no order; a row may come more than once."""
    for place, page in pages.leaves(progress):
        for cell in pages.cells(page):
            if first <= cell.rowid <= last:
                found = _found(pages, place, cell)
                if found is not None and found.row.last <= last:
                    yield found


def find_at(pages: Pages, first: Offset, place: int) -> Iterator[Found]:
    """The row that begins at an offset, as a page has it that `find_rows` has named."""
    for cell in pages.cells(pages.copy(place)):
        if cell.rowid == first and (found := _found(pages, place, cell)) is not None:
            yield found


def payload_of(pages: Pages, found: Found) -> bytes:
    """The event bytes of a row; raises `RowDamaged` when they cannot be read back."""
    found_one = RowDamaged("its page has changed")
    for cell in pages.cells(pages.copy(found.place)):
        if cell.rowid == found.first:
            payload = pages.content(cell, found.payload.stop)[found.payload.start :]
            try:
                check_payload_crc(payload, found.payload_crc)
                return payload
            except RowDamaged as error:
                found_one = error
    raise found_one


def _found(pages: Pages, place: int, cell: Cell) -> Found | None:
    try:
        _, count, received_at_ms, n_bytes, seal, crc, meta, payload = columns(
            pages.content(cell, _HEADER_BYTES), N_COLUMNS
        )
        if not isinstance(meta, range) or not isinstance(payload, range):
            return None
        n_events, at_ms, size, sealed, payload_crc = [
            int(value)  # type: ignore[arg-type]
            for value in (count, received_at_ms, n_bytes, seal, crc)
        ]
        packed = pages.content(cell, meta.stop)[meta.start :]
        row = checked_row(cell.rowid, n_events, at_ms, size, sealed, packed)
    except (RowDamaged, ValueError, TypeError, OverflowError):
        return None
    return Found(row, place, payload, payload_crc, packed, sealed)
