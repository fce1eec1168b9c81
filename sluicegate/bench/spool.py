"""Where a receiver keeps what it got until the run is over: reserved memory first, a file for what is more."""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

MAX_RESERVED_BYTES = 256 * 1024 * 1024


class Spool:
    """Bodies with their arrival times, in order.

    Memory that a process touches for the first time has to be found and cleared by the kernel, on a virtual machine by
    its host too, and that costs more than all else a receiver does. So it is reserved before a run and used again.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._end = 0
        self._file: IO[bytes] | None = None
        self._lengths = array("Q")
        self._arrivals_ns = array("Q")
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._arrivals_ns)

    def reserve(self, n_bytes: int) -> None:
        """Have memory for so many bytes, at most `MAX_RESERVED_BYTES`; what is more will go to a file."""
        self.clear()
        n_bytes = min(n_bytes, MAX_RESERVED_BYTES)
        if n_bytes > (len(self._memory) if self._memory else 0):
            if self._memory:
                self._memory.close()
            self._memory = mmap.mmap(-1, n_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)

    def append(self, body: bytes, arrival_ns: int) -> None:
        """Keep a body that arrived at this time (monotonic, nanoseconds)."""
        self._arrivals_ns.append(arrival_ns)
        self._lengths.append(len(body))
        self.n_bytes += len(body)
        end = self._end + len(body)
        if self._file is None and self._memory and end <= len(self._memory):
            self._memory[self._end : end] = body
            self._end = end
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `clear`)
        self._file.write(body)

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        if self._file is not None:
            self._file.flush()
            self._file.seek(0)
        start = 0
        for length, arrival_ns in zip(self._lengths, self._arrivals_ns, strict=True):
            yield self._body(start, length), arrival_ns
            start += length

    def _body(self, start: int, length: int) -> bytes:
        if start < self._end and self._memory:
            return self._memory[start : start + length]
        return self._file.read(length) if self._file is not None else b""

    def clear(self) -> None:
        """Forget everything but the memory."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._end = 0
        self._lengths = array("Q")
        self._arrivals_ns = array("Q")
        self.n_bytes = 0
