"""`null`: takes everything and keeps nothing; for measuring and for trying out consent rules."""

from __future__ import annotations

from sluicegate.destinations.base import Batch, Destination
from sluicegate.destinations.settings import NullSettings


class Null(Destination):
    """Forgets what it is given; `n_events` counts it."""

    settings_type = NullSettings
    n_events = 0

    def deliver(self, batch: Batch) -> None:
        """Count the batch."""
        self.n_events += len(batch)
