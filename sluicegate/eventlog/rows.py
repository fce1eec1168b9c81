"""What a row of the log is made of on disk, and whether it is what was stored.

    rows(first, count, received_at_ms, n_bytes, seal, payload_crc, meta, payload)

`payload_crc` is the CRC-32C of the payload. `seal` is that of the meta plus the numbers beside it: a changed bit in any
of them, the row's own place included, shows.
"""

from __future__ import annotations

from google_crc32c import value as crc32c

from sluicegate.errors import RowDamaged
from sluicegate.event import decode_meta
from sluicegate.eventlog.base import Offset, Row

N_COLUMNS = 8
LOST = "it could not be saved when the log was repaired"
"""The reason of a row that a repair put in the place of a damaged one."""
_MASK = 0xFFFF_FFFF


def half_seal(meta: bytes, *, count: int, received_at_ms: int, n_bytes: int) -> int:
    """The seal of a row that has no place yet; in its place `first + (first >> 32)` is added, modulo 2^32."""
    crc: int = crc32c(meta)
    return crc + count + n_bytes + received_at_ms + (received_at_ms >> 32)


def check_seal(first: Offset, count: int, received_at_ms: int, n_bytes: int, seal: int, meta: bytes) -> None:
    """Raise `RowDamaged` when these columns are not what was stored, or moved."""
    try:
        due = half_seal(meta, count=count, received_at_ms=received_at_ms, n_bytes=n_bytes) + first + (first >> 32)
        due &= _MASK
    except TypeError:
        raise RowDamaged("a column is missing or of another type") from None
    if due != seal:
        raise RowDamaged("its checksum is wrong")


def checked_row(
    first: Offset,
    count: int,
    received_at_ms: int,
    n_bytes: int,
    seal: int,
    meta: bytes,
    small: tuple[int, bytes] | None = None,
) -> Row:
    """The row that these columns are; raises `RowDamaged` when they are not what was stored, `LogTooNew`."""
    check_seal(first, count, received_at_ms, n_bytes, seal, meta)
    if not meta:
        raise RowDamaged(LOST)
    decoded = decode_meta(meta)
    if len(decoded.combo_of) != count:
        raise RowDamaged(f"it has {len(decoded.combo_of)} events instead of {count}")
    return Row(first, count, received_at_ms, decoded, n_bytes, small)


def sealed_row(first: Offset, count: int, received_at_ms: int, n_bytes: int, meta: bytes) -> tuple[int, ...]:
    """The numbers in front of a whole row, in the order of the columns, with the seal at the end."""
    seal = half_seal(meta, count=count, received_at_ms=received_at_ms, n_bytes=n_bytes) + first + (first >> 32)
    return first, count, received_at_ms, n_bytes, seal & _MASK


def lost_row(first: Offset, count: int, received_at_ms: int) -> tuple[int | bytes, ...]:
    """The columns of a row that stands for events which a repair could not save: whole, with an empty meta."""
    return *sealed_row(first, count, received_at_ms, 0, b""), crc32c(b""), b"", b""


def check_payload_crc(payload: bytes, crc: int) -> None:
    """Raise `RowDamaged` when a payload is not what was stored."""
    if not isinstance(payload, bytes) or crc32c(payload) != crc:
        raise RowDamaged("the checksum of its events is wrong")
