"""A destination in the test's own process that answers by script and remembers every call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import DestinationConfig
from sluicegate.delivery.plugin import Mask, Plugin, permits_of
from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.paths import DataDir

Answer = Callable[[Batch], object]


class Vendor(Destination):
    """`answer(batch)` may raise or block; `called` is set by every call, `events` has what was taken."""

    def __init__(self, answer: Answer = lambda batch: None, limits: Limits = Limits()) -> None:  # noqa: B008
        super().__init__(Settings(), Context("vendor", limits, 5.0, Path("/nonexistent")))
        self.answer = answer
        self.calls: list[list[str]] = []
        self.events: list[str] = []
        self.verbs: list[str] = []
        self.on_initialize: Callable[[], object] = lambda: None
        self.on_destroy: Callable[[], object] = lambda: None
        self._changed = threading.Condition()

    def initialize(self) -> None:
        self.verbs.append("initialize")
        self.on_initialize()

    def test(self) -> None:
        self.verbs.append("test")

    def deliver(self, batch: Batch) -> None:
        with self._changed:
            self.calls.append(list(batch.message_ids))
            self._changed.notify_all()
        self.answer(batch)
        with self._changed:
            self.events += batch.message_ids
            self._changed.notify_all()

    def destroy(self) -> None:
        self.verbs.append("destroy")
        self.on_destroy()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until calls have made this true."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), (self.calls, self.events)

    def make(self, destination: DestinationConfig, data_dir: DataDir) -> Plugin:
        """What a worker takes for `make_plugin`."""
        permits = permits_of(destination, Settings)
        return Plugin(self, self.context.limits, permits, Mask(iter(["hunter2-secret"])))
