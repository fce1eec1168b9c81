"""The destination actors' processes: started, told apart, killed, and seen to end."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from thespian.actors import ActorAddress

from sluicegate.actors.base import Child, SafeActor
from sluicegate.actors.destination import DestinationActor
from sluicegate.actors.processes import exited, is_stopped
from sluicegate.actors.stages import StageCell, handed_down

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A destination actor whose process has not been seen to end."""

    id: str
    epoch: int
    child: Child
    pidfd: int
    stage: StageCell

    @property
    def stands_still(self) -> bool:
        """Whether it is stopped by a signal at this moment."""
        return is_stopped(self.child.pid)


class Children:
    """Those that the supervisor has started; `on_ended` is called once for each, when its process is gone.

    What tells of an end is the process's pidfd: at once, once, and never for another process that has got the same
    number or address.
    """

    def __init__(self, parent: SafeActor, on_ended: Callable[[Running], None]) -> None:
        self._parent = parent
        self._on_ended = on_ended
        self._running: dict[str, Running] = {}

    def start(self, id: str, epoch: int) -> Running | None:
        """Start a process; None when that is not possible now. Its end is told from the next message on."""
        stage = StageCell()
        try:
            with handed_down(stage):
                child = self._parent.create_child(DestinationActor)
        except Exception:  # no memory, no process, no port: whatever Thespian stumbles over
            log.exception("%s: cannot start a process", id)
            return None
        if child is None:
            return None
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError as error:  # it has ended already, or we have too many files open to watch it
            log.error("%s: cannot watch process %d: %s", id, child.pid, error)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            return None
        self._running[id] = running = Running(id, epoch, child, pidfd, stage)
        self._parent.watch(pidfd, functools.partial(self._look_after, running))
        log.info("%s: started as process %d, epoch %d", id, child.pid, epoch)
        return running

    def __iter__(self) -> Iterator[Running]:
        """Those that may still run."""
        return iter(self._running.values())

    def get(self, id: str, epoch: int) -> Running | None:
        """The process of this start, if it may still run."""
        running = self._running.get(id)
        return running if running is not None and running.epoch == epoch else None

    def kill(self, running: Running) -> None:
        """End it without asking; its end is told like any other."""
        signal.pidfd_send_signal(running.pidfd, signal.SIGKILL)

    def look_at(self, address: ActorAddress) -> None:
        """See whether the one with this address has ended: Thespian says so early, twice or not at all."""
        for running in list(self._running.values()):
            if running.child.address == address:
                self._look_after(running)

    def _look_after(self, running: Running) -> None:
        if self._running.get(running.id) is running and exited([running.pidfd], timeout_s=0):
            del self._running[running.id]
            self._parent.unwatch(running.pidfd)
            os.close(running.pidfd)
            self._parent.forget_child(running.child)
            log.info("%s: process %d has ended", running.id, running.child.pid)
            self._on_ended(running)
