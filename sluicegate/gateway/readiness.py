"""Whether the system can take events now."""

from __future__ import annotations

import logging
from collections.abc import Sequence

log = logging.getLogger(__name__)

HOLD_OFF_S = 5.0
"""How long a failed append makes the gateway unready; then it may try again, or nobody would ever send the next."""


class Readiness:
    """What `/ready` answers from: the launcher's word and the last append. `now` is monotonic."""

    def __init__(self) -> None:
        self._launcher: tuple[str, ...] = ("the launcher has not reported yet",)
        self._failed_at: float | None = None
        self._failure = ""
        self.draining = False
        self._disk_problem: str | None = None

    def launcher_says(self, ready: bool, reasons: Sequence[str]) -> None:
        """Note the launcher's word on the router and the supervisor."""
        self._launcher = () if ready else tuple(reasons) or ("the launcher is not ready",)

    def disk_has(self, problem: str | None) -> None:
        """The disk takes no events for this reason, or with None it does."""
        if (problem is None) != (self._disk_problem is None):
            log.warning("events are %s", "taken again" if problem is None else f"refused: {problem}")
        self._disk_problem = problem

    def append_failed(self, reason: str, now: float) -> None:
        """The log did not take events."""
        self._failure = reason
        self._failed_at = now

    def append_succeeded(self) -> None:
        """The log took events."""
        self._failed_at = None

    def reasons(self, now: float) -> list[str]:
        """Why the system is not ready, empty if it is."""
        reasons = list(self._launcher)
        if self._failed_at is not None and now < self._failed_at + HOLD_OFF_S:
            reasons.append(f"the event log does not take events: {self._failure}")
        if self._disk_problem is not None:
            reasons.append(self._disk_problem)
        if self.draining:
            reasons.append("the gateway is shutting down")
        return reasons
