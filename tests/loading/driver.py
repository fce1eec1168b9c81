"""A loading table whose clock and workers do what a test says."""

from __future__ import annotations

from sluicegate.config.model import SupervisorConfig
from sluicegate.loading.effects import Effect
from sluicegate.loading.status import State
from sluicegate.loading.table import LoadingTable

CONFIG = SupervisorConfig(max_loaded=3)


class Driver:
    """A table with a clock of its own and workers that do what the test says."""

    def __init__(self, *ids: str, config: SupervisorConfig = CONFIG, luck: float = 0.5) -> None:
        self.table = LoadingTable(config, random=lambda: luck)
        self.now = 1_000.0
        for id in ids:
            self.table.register(id)

    def state(self, id: str) -> State:
        return self.table.status(id).state

    def ensure(self, *ids: str) -> list[Effect]:
        return self.table.ensure(ids, now=self.now)

    def load(self, *ids: str) -> None:
        for id in ids:
            self.ensure(id)
            self.ready(id)

    def ready(self, id: str) -> list[Effect]:
        return self.table.loaded(id, self.table.status(id).epoch, now=self.now, pid=7)

    def fail(self, id: str, reason: str = "no") -> list[Effect]:
        epoch = self.table.status(id).epoch
        self.table.failed(id, epoch, now=self.now, reason=reason)
        return self.exit(id)

    def exit(self, id: str) -> list[Effect]:
        return self.table.exited(id, self.table.status(id).epoch, now=self.now)

    def progress(
        self,
        id: str,
        *,
        caught_up: bool = True,
        idle_s: float = 0.0,
        stalled_s: float = 0.0,
        delivered: int = 0,
        rests_s: float = 0.0,
    ) -> list[Effect]:
        return self.table.progress(
            id,
            self.table.status(id).epoch,
            now=self.now,
            caught_up=caught_up,
            idle_s=idle_s,
            stalled_s=stalled_s,
            delivered=delivered,
            rests_s=rests_s,
        )

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with every tick that the table asks for."""
        end, found = self.now + seconds, []
        while (due := self.table.next_deadline(now=self.now)) is not None and due <= end:
            self.now = max(self.now, due)
            found += self.table.tick(now=self.now)
        self.now = end
        return found + self.table.tick(now=end)
