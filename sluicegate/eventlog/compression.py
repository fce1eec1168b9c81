"""Payloads as they are stored: large ones as Zstandard frames (RFC 8878).

Events of one request look alike, so a frame is a fifth to a twentieth of what was received. Writing that much less,
and twice, to the WAL and to the database, saves several times the processor time that compressing costs.
"""

from __future__ import annotations

import zstandard

from sluicegate.errors import LogDamaged

LEVEL = 1
"""The fastest of the levels that compress by more than half; 0.1 to 0.6 us an event, 0.05 to 0.2 to read."""
MIN_BYTES = 2_048
"""From four ordinary events on. A payload of half a page costs a page of its own, its parent's, the map's and the
file's first, all of which go through checksums and to the disk with the commit; many frames share a page."""


class PayloadCodec:
    """Compresses and restores payloads; for one thread."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def stored(self, payload: bytes) -> bytes:
        """What to store: a frame when that is shorter, else the payload itself."""
        if len(payload) < MIN_BYTES:
            return payload
        frame = self._compress(payload)
        return frame if len(frame) < len(payload) else payload

    def restored(self, stored: bytes, n_bytes: int) -> bytes:
        """The payload of `n_bytes` bytes: what is stored is shorter if it is a frame. Raises `LogDamaged`."""
        if len(stored) == n_bytes:
            return stored
        try:
            payload = self._decompress(stored, max_output_size=n_bytes)
        except zstandard.ZstdError as error:
            raise LogDamaged(f"a row of the event log cannot be decompressed: {error}") from error
        return payload
