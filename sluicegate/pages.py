"""The pages of a SQLite database, read one by one: for what a damaged tree no longer leads to.

SQLite finds a row by walking down from the root; one broken page on the way hides thousands of rows that are whole.
Here every page that looks like a leaf of a table is taken apart (sqlite.org/fileformat2.html, section 1.6). Nothing
that comes from it is to be believed before its own checksums say so.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import apsw

from sluicegate.sqlite import errors_of

_LEAF_LIKE = {13, *(13 ^ 1 << bit for bit in range(8))}
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
DATABASE, WAL = 0, 1
_INT_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value = int | bytes | None
ReadAt = Callable[[int, int, int], bytes]
"""(0 for the database or 1 for its WAL, offset, amount) to the bytes that are there, fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row in a leaf: its key, its size, the part that lies in the leaf, and the page where it goes on (0: none)."""

    rowid: int
    n_bytes: int
    local: bytes
    overflow: int


class Pages:
    """The newest state of each page, as database and WAL have it."""

    def __init__(
        self, read: ReadAt, *, page_size: int, n_pages: int, n_frames: int, broken: Set[int] = frozenset()
    ) -> None:
        self._read = read
        self.page_size = page_size
        self._n_frames = n_frames
        self._in_wal: dict[int, int] = {}
        for frame in range(n_frames):
            header = read(WAL, self._frame_at(frame), 4)
            if len(header) == 4 and frame not in broken:
                self._in_wal[int.from_bytes(header)] = frame
        self.n_pages = max([n_pages, *(page for page in self._in_wal if page <= n_pages + n_frames)])

    def _frame_at(self, frame: int) -> int:
        return WAL_HEADER_BYTES + frame * (FRAME_HEADER_BYTES + self.page_size)

    @classmethod
    def of(cls, connection: apsw.Connection, path: Path) -> Pages:
        """The pages as a connection sees them, which has no transaction open yet and has one afterwards.

        End the transaction when the pages are no longer needed: it keeps others from changing them meanwhile.
        """

        def read(which: int, offset: int, amount: int) -> bytes:
            # Through SQLite's own file: closing another one would drop the locks of this process.
            return connection.read("main", which, offset, amount)[1]

        with errors_of(path), _no_transaction_after_errors(connection):
            while True:
                cycle = read(WAL, 0, WAL_HEADER_BYTES)
                n_frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
                connection.execute("BEGIN")
                n_pages = connection.pragma("page_count")
                if read(WAL, 0, WAL_HEADER_BYTES) == cycle:
                    break
                connection.execute("ROLLBACK")  # the WAL began anew in between
            return cls(read, page_size=connection.pragma("page_size"), n_pages=n_pages, n_frames=max(0, n_frames))

    @classmethod
    @contextmanager
    def of_files(cls, path: Path, *, page_size: int, n_frames: int, broken: Set[int]) -> Iterator[Pages]:
        """The pages of a database that nobody has open, and of the first frames of its WAL.

        Of frames that are `broken` not even the page number is believed; leaves in them are looked at all the same.
        """
        with ExitStack() as files:
            opened = [files.enter_context(path.open("rb"))]
            if n_frames:
                opened.append(files.enter_context(path.with_name(path.name + "-wal").open("rb")))

            def read(which: int, offset: int, amount: int) -> bytes:
                try:
                    return os.pread(opened[which].fileno(), amount, offset)
                except OSError:  # a sector that the disk cannot read: what lies there is lost
                    return b""

            n_pages = os.fstat(opened[DATABASE].fileno()).st_size // page_size
            yield cls(read, page_size=page_size, n_pages=n_pages, n_frames=n_frames, broken=broken)

    @property
    def n_copies(self) -> int:
        """How many pages `leaves` looks at."""
        return self.n_pages - 1 + self._n_frames

    def page(self, number: int) -> bytes:
        """The newest copy of a page, zeros where there is nothing; pages count from 1."""
        frame = self._in_wal.get(number)
        return self.copy(number if frame is None else -1 - frame)

    def copy(self, place: int) -> bytes:
        """One copy of a page: by its number that in the database, by -1, -2, ... those in the WAL in their order."""
        if place > 0:
            data = self._read(DATABASE, (place - 1) * self.page_size, self.page_size)
        else:
            data = self._read(WAL, self._frame_at(-1 - place) + FRAME_HEADER_BYTES, self.page_size)
        return data.ljust(self.page_size, b"\x00")

    def leaves(self, progress: Callable[[int], object] = lambda n: None) -> Iterator[tuple[int, bytes]]:
        """Every copy of a page that may be a leaf of a table, with its place, also one whose type has a wrong bit.

        The first page, which has the schema, is none. `progress` is told how many pages were looked at.
        """
        for done, place in enumerate(chain(range(2, self.n_pages + 1), range(-1, -1 - self._n_frames, -1))):
            page = self.copy(place)
            if page[0] in _LEAF_LIKE:
                yield place, page
            if done % 1_000 == 999:
                progress(1_000)

    def cells(self, page: bytes) -> Iterator[Cell]:
        """The rows of a leaf, as far as they have a place in it; what the page says of their number is not believed."""
        pointers = array("H", page[8:])
        if sys.byteorder == "little":
            pointers.byteswap()
        lowest = self.page_size
        for index, at in enumerate(pointers):
            if 8 + 2 * index >= lowest:
                return
            if 8 <= at < self.page_size:
                cell = self._cell(page, at)
                if cell is not None:
                    lowest = min(lowest, at) if cell.n_bytes else lowest
                    yield cell

    def _cell(self, page: bytes, at: int) -> Cell | None:
        try:
            n_bytes, at = varint(page, at)
            rowid, at = varint(page, at)
        except IndexError:
            return None
        n_local = self._n_local(n_bytes)
        end = at + n_local
        if n_local == n_bytes:
            return Cell(rowid, n_bytes, page[at:end], 0) if end <= len(page) else None
        if end + 4 > len(page):
            return None
        return Cell(rowid, n_bytes, page[at:end], int.from_bytes(page[end : end + 4]))

    def _n_local(self, n_bytes: int) -> int:
        size = self.page_size
        most, least = size - 35, (size - 12) * 32 // 255 - 23
        if n_bytes <= most:
            return n_bytes
        wanted = least + (n_bytes - least) % (size - 4)
        return wanted if wanted <= most else least

    def content(self, cell: Cell, n_wanted: int) -> bytes:
        """The first bytes of a row, over its overflow pages; fewer where their chain is broken."""
        n_wanted = min(n_wanted, cell.n_bytes)
        parts, n_read, follow, seen = [cell.local], len(cell.local), cell.overflow, set[int]()
        while n_read < n_wanted and 1 < follow <= self.n_pages and follow not in seen:
            seen.add(follow)
            page = self.page(follow)
            parts.append(page[4:])
            n_read += len(page) - 4
            follow = int.from_bytes(page[:4])
        return b"".join(parts)[:n_wanted]


@contextmanager
def _no_transaction_after_errors(connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def columns(content: bytes, n_columns: int) -> list[Value | range]:
    """The columns of a record that begins here; a blob as the range of its bytes, which may lie beyond what is given.

    Raises `ValueError` for what is not a record of so many columns of integers, blobs and nulls.
    """
    try:
        n_header, at = varint(content, 0)
        kinds = []
        while at < n_header:
            kind, at = varint(content, at)
            kinds.append(kind)
        if at != n_header or len(kinds) != n_columns:
            raise ValueError("not a record of this table")
        found: list[Value | range] = []
        for kind in kinds:
            value, at = _value(content, at, kind)
            found.append(value)
    except IndexError:
        raise ValueError("the record is cut off") from None
    return found


def _value(content: bytes, at: int, kind: int) -> tuple[Value | range, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if n_bytes := _INT_BYTES.get(kind):
        return int.from_bytes(content[at : at + n_bytes], signed=True), at + n_bytes
    if kind >= 12 and kind % 2 == 0:
        return range(at, at + (kind - 12) // 2), at + (kind - 12) // 2
    raise ValueError("a column of another kind")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where it ends; raises `IndexError` at the end of the data."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at
    value = value << 8 | data[at]
    return struct.unpack(">q", struct.pack(">Q", value & (1 << 64) - 1))[0], at + 1
