"""Ids for events that come without one."""

from __future__ import annotations

import itertools
import os


class MessageIds:
    """Ids that no other process and no later start gives out: 96 random bits for each, then a number."""

    def __init__(self) -> None:
        self._pid = 0
        self._prefix = ""
        self._numbers = itertools.count()

    def next(self) -> str:
        """One more id; a forked child takes random bits of its own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._prefix = f"sg-{os.urandom(12).hex()}-"
        return f"{self._prefix}{next(self._numbers):x}"
