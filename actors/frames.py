"""Frames on the wire: a decimal length, `>`, a proof that somebody with the key says so, that many bytes."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from sluicegate.errors import SluicegateError

MAX_HEADER_DIGITS = 12
MAX_FRAME_BYTES = 8 * 1024 * 1024
PROOF_BYTES = 32
_HEADER_READ_BYTES = MAX_HEADER_DIGITS + 1 + PROOF_BYTES  # what is read too much belongs to the frame


class BadFrame(SluicegateError):
    """Bytes that no peer of ours sends."""


class NotProven(BadFrame):
    """A frame whose length was not signed with our key."""


Proof = Callable[[int], bytes]
"""What only who has the key can say about the length of a frame."""


def frame(data: bytes, proof: Proof | None = None) -> bytes:
    """The bytes to send for one frame; raises `BadFrame` when no peer would accept it."""
    size = len(data)
    if not 0 < size <= MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {size} bytes is not allowed (1 to {MAX_FRAME_BYTES})")
    return b"".join((b"%d>" % size, proof(size) if proof else b"", data))


class FrameBuffer:
    """Collects one frame; the methods are those of Thespian's `ReceiveBuffer`, which has no limits.

    `addMore` raises `BadFrame` for a header that is no number of 1 to 12 digits, and for a length that is zero or
    above `max_bytes`. With a `proof`, `NotProven` is raised unless the proof follows the header: so nothing of a
    frame is kept for somebody who has not the key. Bytes after the frame are dropped: a connection carries one frame
    each way.
    """

    __slots__ = ("_data", "_decode", "_max_bytes", "_proof", "_size")

    def __init__(
        self, decode: Callable[[bytes], Any] = bytes, *, max_bytes: int = MAX_FRAME_BYTES, proof: Proof | None = None
    ) -> None:
        self._data = bytearray()
        self._size: int | None = None
        self._proof: Proof | None = proof
        self._decode = decode
        self._max_bytes = max_bytes

    def addMore(self, data: bytes) -> None:
        """Take bytes as they were received."""
        self._data += data
        if self._size is None:
            self._read_header()
        if self._size is not None:
            if self._proof is not None:
                self._read_proof(self._proof, self._size)
            else:
                del self._data[self._size :]

    def remainingAmount(self) -> int:
        """How many bytes to ask the socket for; at least one as long as the frame is not complete."""
        if self._size is None or self._proof is not None:
            return _HEADER_READ_BYTES
        return self._size - len(self._data)

    def isDone(self) -> bool:
        """True when the frame is complete."""
        return self._proof is None and self._size is not None and len(self._data) == self._size

    def completed(self) -> tuple[Any, bytes]:
        """The decoded frame and no rest; raises what the decoder raises."""
        return self._decode(bytes(self._data)), b""

    def _read_header(self) -> None:
        """Take the length off the front, once it is there."""
        end = self._data.find(b">", 0, MAX_HEADER_DIGITS + 1)
        digits = bytes(self._data[:end] if end >= 0 else self._data)
        if (digits and not digits.isdigit()) or (end < 0 and len(digits) > MAX_HEADER_DIGITS):
            raise BadFrame("a frame starts with its length in digits")
        if end < 0:
            return
        size = int(digits or b"0")
        if not 0 < size <= self._max_bytes:
            raise BadFrame(f"a frame of {size} bytes is not allowed (1 to {self._max_bytes})")
        self._size = size
        del self._data[: end + 1]

    def _read_proof(self, proof: Proof, size: int) -> None:
        """Take the proof off the front, once it is there."""
        if len(self._data) < PROOF_BYTES:
            return
        if not compare_digest(bytes(self._data[:PROOF_BYTES]), proof(size)):
            raise NotProven("the length of a frame was not signed with this system's key")
        self._proof = None
        del self._data[:PROOF_BYTES]
        del self._data[size:]
