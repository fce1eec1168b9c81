"""What a destination's process tells its supervisor, and when: at once what is new, else now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.clock import Timer

if TYPE_CHECKING:
    from tests.simulation.destination import DestinationProcess
    from tests.simulation.world import World

LOOK_S = 0.25
PROGRESS_S = 5.0


class Reporter:
    """The progress messages of one process, as `actors.destination` sends them."""

    def __init__(self, world: World, process: DestinationProcess) -> None:
        self._world = world
        self._process = process
        self._timer: Timer | None = None
        self._error: str | None = None
        self._caught_up = False
        self._told: tuple[str | None, bool] | None = None
        self._told_at = 0.0
        shortest_s = min(world.supervisor_config.idle_ttl_s or PROGRESS_S, world.supervisor_config.stall_timeout_s)
        self._progress_s = min(PROGRESS_S, shortest_s / 4)

    @property
    def started(self) -> bool:
        """Whether it has been told to start."""
        return self._timer is not None

    def arm(self, delay_s: float = LOOK_S) -> None:
        """Look whether there is something to tell, after a while."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._process.later(delay_s, "", self._look)

    def stop(self) -> None:
        """Nothing more is told."""
        if self._timer is not None:
            self._timer.cancel()

    def set_error(self, error: str | None) -> None:
        """The last error, None when the last call went through."""
        self._error = error
        self._differ()

    def set_caught_up(self, caught_up: bool) -> None:
        """Whether nothing waits."""
        self._caught_up = caught_up
        self._differ()

    def _differ(self) -> None:
        if self._told != (self._error, self._caught_up) and self._timer is not None:
            now = self._world.clock.now
            if self._timer.at > now + LOOK_S:
                self.arm(LOOK_S)

    def _look(self) -> None:
        now, told = self._world.clock.now, (self._error, self._caught_up)
        if told != self._told or now >= self._told_at + self._progress_s:
            self._told, self._told_at = told, now
            self._tell(now)
        self.arm(self._progress_s)

    def _tell(self, now: float) -> None:
        process, error, caught_up = self._process, self._error, self._caught_up
        idle_s = now - process.last_event_at
        stalled_s = max((now - call.began for call in process.calls), default=0.0)
        delivered, rests_s = process.delivered, process.rests_s
        process.supervisor.tell(
            f"{process.name}: progress{', caught up' if caught_up else ''}",
            lambda table, at: table.progress(
                process.id,
                process.epoch,
                now=at,
                caught_up=caught_up,
                idle_s=idle_s,
                stalled_s=stalled_s,
                delivered=delivered,
                error=error,
                rests_s=rests_s,
            ),
        )
