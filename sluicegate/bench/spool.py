"""Where a receiver keeps what it got until the run is over: memory first, a file for what is more."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

MEMORY_BYTES = 256 * 1024 * 1024


class Spool:
    """Bodies with their arrival times, in order; never more than `memory_bytes` of them in memory."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._bodies: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._lengths = array("Q")
        self._arrivals_ns = array("Q")
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._arrivals_ns)

    def append(self, body: bytes, arrival_ns: int) -> None:
        """Keep a body that arrived at this time (monotonic, nanoseconds)."""
        self._arrivals_ns.append(arrival_ns)
        self.n_bytes += len(body)
        if self._file is None and self.n_bytes <= self._memory_bytes:
            self._bodies.append(body)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `clear`)
        self._file.write(body)
        self._lengths.append(len(body))

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        yield from zip(self._bodies, self._arrivals_ns, strict=False)
        if self._file is None:
            return
        self._file.flush()
        self._file.seek(0)
        for index, length in enumerate(self._lengths, start=len(self._bodies)):
            yield self._file.read(length), self._arrivals_ns[index]

    def clear(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._bodies.clear()
        self._lengths = array("Q")
        self._arrivals_ns = array("Q")
        self.n_bytes = 0
