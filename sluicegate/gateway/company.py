"""Whether a commit waits for more requests: clients that were answered together send their next ones together.

Pure. All of them should share the next fsync again, and for that a commit waits, for a part of what a commit takes.
Where requests come at random nobody comes in that time, and the waits become short.
"""

from __future__ import annotations

FIRST, LEAST, MOST = 0.25, 1 / 16, 1.0
"""Part of a commit's time that is waited: at first, where it is in vain, and where it is worth it."""


class Company:
    """How many requests the next commit may expect, and how long it waits for them; times in seconds."""

    def __init__(self) -> None:
        self.share = FIRST
        self._expected = 0
        self._until = 0.0
        self._has_waited = False

    def begin(self, now: float, *, commit_s: float) -> None:
        """The first request for a commit has come; `commit_s` is what the disk takes for one."""
        self._until = now + self.share * commit_s
        self._has_waited = False

    def is_awaited(self, n_requests: int, now: float) -> bool:
        """Whether to wait on, with so many there; else these are the commit."""
        if n_requests < self._expected:
            if now < self._until:
                self._has_waited = True
                return True
            self.share = max(LEAST, self.share / 2)
        elif self._has_waited:
            self.share = min(MOST, self.share * 2)
        self._expected = n_requests
        return False
