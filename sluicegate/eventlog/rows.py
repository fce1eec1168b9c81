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
_MASK = 0xFFFF_FFFF


def half_seal(meta: bytes, *, count: int, received_at_ms: int, n_bytes: int) -> int:
    """The seal of a row that has no place yet; in its place `first + (first >> 32)` is added, modulo 2^32."""
    crc: int = crc32c(meta)
    return crc + count + n_bytes + received_at_ms + (received_at_ms >> 32)


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
    try:
        due = half_seal(meta, count=count, received_at_ms=received_at_ms, n_bytes=n_bytes) + first + (first >> 32)
    except TypeError:
        raise RowDamaged("a column is missing") from None
    if due & _MASK != seal:
        raise RowDamaged("its checksum is wrong")
    if not meta:  # put there by a repair, for what could not be saved
        raise RowDamaged("it was damaged when the log was repaired")
    decoded = decode_meta(meta)
    if len(decoded.combo_of) != count:
        raise RowDamaged(f"it has {len(decoded.combo_of)} events instead of {count}")
    return Row(first, count, received_at_ms, decoded, n_bytes, small)


def check_payload_crc(payload: bytes, crc: int) -> None:
    """Raise `RowDamaged` when a payload is not what was stored."""
    if not isinstance(payload, bytes) or crc32c(payload) != crc:
        raise RowDamaged("the checksum of its events is wrong")
