"""Frames on the wire: a decimal length, `>`, that many bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sluicegate.errors import SluicegateError

MAX_HEADER_DIGITS = 12
MAX_FRAME_BYTES = 8 * 1024 * 1024
_HEADER_READ_BYTES = 20  # enough for every legal header; what is read too much belongs to the frame


class BadFrame(SluicegateError):
    """Bytes that no peer of ours sends."""


def frame(data: bytes) -> bytes:
    """The bytes to send for one frame; raises `BadFrame` when no peer would accept it."""
    if not 0 < len(data) <= MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(data)} bytes is not allowed (1 to {MAX_FRAME_BYTES})")
    return b"%d>" % len(data) + data


class FrameBuffer:
    """Collects one frame; the methods are those of Thespian's `ReceiveBuffer`, which has no limits.

    `addMore` raises `BadFrame` for a header that is no number of 1 to 12 digits, and for a length that is zero or
    above 8 MiB. Bytes after the frame are dropped: a connection carries one frame each way.
    """

    __slots__ = ("_data", "_decode", "_size")

    def __init__(self, decode: Callable[[bytes], Any] = bytes) -> None:
        self._data = bytearray()
        self._size: int | None = None
        self._decode = decode

    def addMore(self, data: bytes) -> None:
        """Take bytes as they were received."""
        self._data += data
        if self._size is None:
            self._read_header()
        if self._size is not None:
            del self._data[self._size :]

    def remainingAmount(self) -> int:
        """How many bytes to ask the socket for; at least one as long as the frame is not complete."""
        return _HEADER_READ_BYTES if self._size is None else self._size - len(self._data)

    def isDone(self) -> bool:
        """True when the frame is complete."""
        return self._size is not None and len(self._data) == self._size

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
        if not 0 < size <= MAX_FRAME_BYTES:
            raise BadFrame(f"a frame of {size} bytes is not allowed (1 to {MAX_FRAME_BYTES})")
        self._size = size
        del self._data[: end + 1]
