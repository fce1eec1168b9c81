"""What lies in the WAL of a log, whether SQLite takes it or not (sqlite.org/fileformat2.html, section 4)."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import islice
from pathlib import Path

from sluicegate.eventlog.schema import SCHEMA
from sluicegate.pages import FRAME_HEADER_BYTES, WAL_HEADER_BYTES

Frame = tuple[int, bool, bytes]
"""The page, whether a transaction ends with it, and the two salts that all frames of one cycle share."""

Sums = tuple[int, int]

FRAME_BYTES = FRAME_HEADER_BYTES + SCHEMA.page_size
_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""For checksums of either order of bytes."""
_MASK = 0xFFFF_FFFF


def wal_frames(path: Path) -> list[Frame]:
    """The frames of the newest cycle of a log's WAL, whether their checksums are right or not."""
    wal = path.with_name(path.name + "-wal")
    if not wal.exists():
        return []
    with wal.open("rb") as file:
        headers, header = [], file.read(WAL_HEADER_BYTES)
        for at in range(WAL_HEADER_BYTES, wal.stat().st_size - FRAME_BYTES + 1, FRAME_BYTES):
            file.seek(at)
            headers.append(file.read(FRAME_HEADER_BYTES))
    found = [(int.from_bytes(h[:4]), h[4:8] != bytes(4), h[8:16]) for h in headers]
    cycle = _cycle(header, found) if found else b""
    n_frames = next((i for i, frame in enumerate(found) if not _alike(frame[2], cycle)), len(found))
    return found[:n_frames]


def _cycle(header: bytes, found: list[Frame]) -> bytes:
    """The salts of the newest cycle: where the header is damaged, those that most of the first frames have."""
    # A writer that was killed when it began a cycle leaves the header alone, before frames that are all moved already.
    is_whole = header[:4] in _MAGIC and _sums(header[24:32]) == _checksum(header[:24], (0, 0))
    return header[16:24] if is_whole else Counter(salts for _, _, salts in found[:3]).most_common(1)[0][0]


def broken_frames(path: Path, n_frames: int) -> set[int]:
    """Which of the first frames are not as they were written.

    Each checksum goes on from the one before, so a wrong one that is only written wrongly shows at the next.
    """
    if not n_frames:
        return set()
    broken: set[int] = set()
    with path.with_name(path.name + "-wal").open("rb") as file:
        header = file.read(WAL_HEADER_BYTES)
        seeds = [_sums(header[24:32]), _checksum(header[:24], (0, 0))]
        for number, frame in enumerate(iter(lambda: file.read(FRAME_BYTES), b"")):
            if number == n_frames:
                break
            stored, content = _sums(frame[16:24]), frame[:8] + frame[FRAME_HEADER_BYTES:]
            computed = [_checksum(content, seed) for seed in dict.fromkeys(seeds)]
            if stored in computed:
                if computed.index(stored):  # only the checksum before was wrong
                    broken.discard(number - 1)
            else:
                broken.add(number)
            seeds = [stored, computed[0]]
    return broken


def _sums(data: bytes) -> Sums:
    return int.from_bytes(data[:4]), int.from_bytes(data[4:8])


def _checksum(data: bytes, seed: Sums) -> Sums:
    words = array("I", data)  # in the order of the machine, as SQLite takes them
    first, second = seed
    for x, y in zip(islice(words, 0, None, 2), islice(words, 1, None, 2), strict=True):
        first = first + x + second & _MASK
        second = second + y + first & _MASK
    return first, second


def _alike(salts: bytes, others: bytes) -> bool:
    """Whether two pairs of salts are of one cycle: one of the two may be damaged, both change with the cycle."""
    return salts[:4] == others[:4] or salts[4:] == others[4:]
