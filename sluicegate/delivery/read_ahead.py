"""How much is read of the log before there is a call for it.

Pure. Twice as much as may be in calls at a time, so that no call waits for the log; more while events fail by
themselves, as those that wait for them would soon be all that is kept.
"""

from __future__ import annotations

import math

from sluicegate.config.declaration import Limits
from sluicegate.delivery.backlog import Backlog
from sluicegate.delivery.pace import Pace
from sluicegate.delivery.underway import Underway

MIN_BLOCKED = 4_000
"""Events that may be kept while others fail by themselves, whatever the size of a call; bytes are bounded as ever."""


class ReadAhead:
    """The room for further events beside those of the backlog and those underway."""

    def __init__(self, backlog: Backlog, limits: Limits, pace: Pace, underway: Underway) -> None:
        self._backlog = backlog
        self._limits = limits
        self._pace = pace
        self._underway = underway

    @property
    def room_events(self) -> int:
        """Events that may still be read."""
        n_alone = self._underway.n_alone(released=False)
        most = max(self._n_calls * self._limits.max_events, MIN_BLOCKED if n_alone else 0)
        return most - len(self._backlog) - (self._underway.n_away - n_alone)

    @property
    def room_bytes(self) -> int:
        """The same in bytes of events that wait for a call."""
        return self._n_calls * self._limits.max_bytes - self._backlog.n_bytes

    @property
    def _n_calls(self) -> int:
        """Calls to keep events for: two for each that may run.

        While one runs at a time, two are kept, which the processor's cache can hold.
        """
        underway = self._underway
        is_single = self._pace.fast or self._pace.service_s == math.inf
        return 2 if is_single and underway.n_running == len(underway.lanes) else 2 * self._limits.in_flight
