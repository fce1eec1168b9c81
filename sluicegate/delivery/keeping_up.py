"""Whether a reader of the log keeps up with those who write to it.

Pure: no clock, no log.
"""

from __future__ import annotations

from sluicegate.eventlog.base import Offset

BEHIND_S = 0.25
"""Who has not come in this time to where the log ended before is behind; a busy destination takes some 10 ms."""


class KeepingUp:
    """Remembers how far the log went at some moment, and whether the reader has come so far since."""

    def __init__(self) -> None:
        self._goal: Offset | None = None
        """Where the log ended at some look, until that is reached."""
        self._since = 0.0
        self.keeps_up = False
        """Not until it has shown that it does."""

    def look(self, reached: Offset, head: Offset, now: float) -> bool:
        """Note how far the reader has come and how far the log goes; whether `keeps_up` has changed by that."""
        before = self.keeps_up
        if self._goal is not None:
            is_late, has_reached = now - self._since >= BEHIND_S, reached >= min(self._goal, head)
            self.keeps_up = not is_late and (self.keeps_up or has_reached)
            if not has_reached:
                return self.keeps_up != before
        self._goal, self._since = head, now
        if reached >= head:
            self._goal, self.keeps_up = None, True
        return self.keeps_up != before
