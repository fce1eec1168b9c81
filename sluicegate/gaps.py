"""The unused space inside the pages of a SQLite database, overwritten with zeros where something was left in it.

`secure_delete` overwrites what is deleted where it lies. But when SQLite moves rows from one page to another to balance
its tree, copies of them stay behind in the space between a page's list of cells and its cells
(sqlite.org/fileformat2.html, section 1.6), and nothing ever overwrites those. So what is deleted later may still be
there in an older place.

Only such space is written to, and only while nobody else can write and the page is in no WAL. It means nothing to
SQLite, so that neither readers nor a crash in the middle can be harmed. A commit that follows makes every other
connection read its pages anew before it writes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw

from sluicegate.errors import LogUnavailable
from sluicegate.pages import DATABASE, FRAME_HEADER_BYTES, WAL, WAL_HEADER_BYTES
from sluicegate.sqlite import errors_of

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
"""Of the pages of trees, by their type: inside and leaf of an index, and of a table."""
_FIRST_HEADER_AT = 100
"""The first page begins with the header of the database."""
_MAX_FRAGMENT_BYTES = 60
"""Of a page that are too few to be a free block; they may lie before its first cell."""
CHUNK_PAGES = 256
MAX_AT_A_TIME = 2_000
"""Gaps that are overwritten while others wait to write: about 20 ms."""
MAX_ROUNDS = 50

Gap = tuple[int, int, int]
"""A page's number, and from where to where it is unused."""


def clear_gaps(db: apsw.Connection, path: Path) -> int:
    """Overwrite what was left in the unused space of pages and cut the WAL to nothing; how many pages had something.

    `db` must have no transaction open. Raises `LogUnavailable` when others keep it from getting on; doing it again goes
    on.
    """
    n_cleared = 0
    with errors_of(path):
        for _ in range(MAX_ROUNDS):
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            gaps = list(_gaps(db))
            if not gaps:
                return n_cleared
            for start in range(0, len(gaps), MAX_AT_A_TIME):
                n_cleared += _clear(db, path, gaps[start : start + MAX_AT_A_TIME])
    raise LogUnavailable(f"{path}: others write to it all the time; try again")


def _clear(db: apsw.Connection, path: Path, gaps: list[Gap]) -> int:
    """Overwrite these, but for pages that have changed since."""
    # SQLite's own file: closing another one would drop the locks that this process has on it.
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0]
    with closing(_File(path, flags)) as file:
        db.execute("BEGIN IMMEDIATE")
        try:
            in_wal = _pages_in_wal(db)
            size, n_pages = db.pragma("page_size"), db.pragma("page_count")
            n_cleared = 0
            for number, start, end in gaps:
                page = db.read("main", DATABASE, (number - 1) * size, size)[1]
                if number not in in_wal and gap_of(page, number, n_pages=n_pages) == (number, start, end):
                    file.write(bytes(end - start), (number - 1) * size + start)
                    n_cleared += 1
            file.sync()
            db.execute(f"PRAGMA user_version = {db.pragma('user_version')}")  # a change, by which others forget pages
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    return n_cleared


class _File:
    """The database's file, through SQLite."""

    def __init__(self, path: Path, flags: list[int]) -> None:
        self._file = apsw.VFSFile("", str(path.resolve()), flags)

    def write(self, data: bytes, at: int) -> None:
        self._file.xWrite(data, at)

    def sync(self) -> None:
        self._file.xSync(apsw.SQLITE_SYNC_FULL)

    def close(self) -> None:
        self._file.xClose()


def _pages_in_wal(db: apsw.Connection) -> set[int]:
    """The pages of which the WAL may have a copy."""
    frame_bytes = FRAME_HEADER_BYTES + db.pragma("page_size")
    found, at = set(), WAL_HEADER_BYTES
    while (header := db.read("main", WAL, at, 4))[0]:
        found.add(int.from_bytes(header[1]))
        at += frame_bytes
    return found


def _gaps(db: apsw.Connection) -> Iterator[Gap]:
    """The gaps of the database's file in which something was left."""
    size, n_pages = db.pragma("page_size"), db.pragma("page_count")
    maps_every = size // 5 + 1 if db.pragma("auto_vacuum") else 0  # pages that say who points at which page
    for first in range(1, n_pages + 1, CHUNK_PAGES):
        n_read = min(CHUNK_PAGES, n_pages + 1 - first) * size
        chunk = db.read("main", DATABASE, (first - 1) * size, n_read)[1]
        for at in range(0, n_read, size):
            number = first + at // size
            if maps_every and number > 1 and (number - 2) % maps_every == 0:
                continue
            gap = gap_of(chunk[at : at + size], number, n_pages=n_pages)
            if gap is not None:
                yield gap


def gap_of(page: bytes, number: int, *, n_pages: int) -> Gap | None:
    """The gap of a page if it has something in it."""
    at = _FIRST_HEADER_AT if number == 1 else 0
    header = _HEADER_BYTES.get(page[at])
    if header is None:
        return None
    n_cells = int.from_bytes(page[at + 3 : at + 5])
    start, end = at + header + 2 * n_cells, int.from_bytes(page[at + 5 : at + 7]) or 65_536
    if not start < end <= len(page) or not any(page[start:end]):
        return None
    # A page that goes on with a long value begins with the number of the next one, which may look like a type.
    if number > 1 and n_pages >= page[0] << 24 and not _is_of_tree(page, header, n_cells, end):
        return None
    return number, start, end


def _is_of_tree(page: bytes, header: int, n_cells: int, end: int) -> bool:
    """Whether the cells and free blocks that the header of a page tells of lie where its content is said to begin."""
    first_free = int.from_bytes(page[1:3])
    cells = [int.from_bytes(page[at : at + 2]) for at in range(header, header + 2 * n_cells, 2)]
    used = [*cells, first_free] if first_free else cells
    if not used:
        return end == len(page)
    return end <= min(used) <= end + _MAX_FRAGMENT_BYTES and max(used) < len(page) and page[7] <= _MAX_FRAGMENT_BYTES
