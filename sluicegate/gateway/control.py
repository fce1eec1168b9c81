"""The line to the launcher: JSON, one object a line, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable

from sluicegate.gateway.readiness import Readiness

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 64 * 1024


class ControlLine:
    """Reads `{"ready": bool, "reasons": [...]}` from the launcher and tells it what happens here.

    `{"ask": "..."}` is answered by `{"answer": "..."}`, which shows that the loop runs. The end of
    the line means that the launcher is gone; `on_gone` is called once.
    """

    def __init__(self, fd: int, readiness: Readiness, *, on_gone: Callable[[], None]) -> None:
        self._fd = fd
        self._readiness = readiness
        self._on_gone = on_gone
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def tell(self, **what: object) -> None:
        """Send one line; a launcher that does not read loses it."""
        with contextlib.suppress(OSError):
            os.write(self._fd, json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        """Stop listening; the descriptor stays open."""
        self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._on_gone()
            return
        *lines, self._rest = (self._rest + data)[-MAX_LINE_BYTES:].split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            if "ask" in message:
                self.tell(answer=message["ask"])
                return
            self._readiness.launcher_says(bool(message["ready"]), [str(r) for r in message.get("reasons", ())])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the launcher said something unknown: %s", error)
