"""The least parser of HTTP/1.1 responses that a client needs whose peer sends `Content-Length`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sluicegate.bench.errors import BenchError

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class ResponseParser:
    """Bytes in, `(status, body)` out, in order."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The responses that these bytes complete; raises `BenchError` for one without a length."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            match = _LENGTH.search(head)
            if match is None:
                raise BenchError(f"a response has no Content-Length: {head[:200]!r}")
            stop = end + 4 + int(match[1])
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
            yield int(head[9:12]), body
