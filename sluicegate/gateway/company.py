"""Whether a commit waits for more requests: clients that were answered together send their next ones together.

Pure. All of them should share the next fsync again, and for that a commit waits: from each that comes to the next, for
a part of what a commit takes, and for all of them no longer than a commit. Where requests come at random nobody comes
in that time, and the waits become short.
"""

from __future__ import annotations

FIRST, LEAST, MOST = 0.25, 1 / 16, 1.0
"""Part of a commit's time that is waited for the next request: at first, where it is in vain, where it is worth it."""


class Company:
    """How many requests the next commit may expect, and how long it waits for them; times in seconds."""

    def __init__(self) -> None:
        self.share = FIRST
        self._expected = 0
        self._n_there = 0
        self._wait_s = 0.0
        self._until = self._latest = 0.0
        self._has_waited = False

    def begin(self, now: float, *, commit_s: float) -> None:
        """The first request for a commit has come; `commit_s` is what the disk takes for one."""
        self._n_there = 1
        self._wait_s = self.share * commit_s
        self._until = now + self._wait_s
        self._latest = now + commit_s
        self._has_waited = False

    def is_awaited(self, n_requests: int, now: float) -> bool:
        """Whether to wait on, with so many there; else these are the commit."""
        if n_requests < self._expected:
            if n_requests > self._n_there:
                self._n_there = n_requests
                self._until = min(now + self._wait_s, self._latest)
            if now < self._until:
                self._has_waited = True
                return True
            self.share = max(LEAST, self.share / 2)
        elif self._has_waited:
            self.share = min(MOST, self.share * 2)
        self._expected = n_requests
        return False
