"""What stays of a destination whatever becomes of its processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluicegate.config.declaration import Limits
from sluicegate.config.model import DestinationConfig
from tests.simulation.flight import ModelFlight
from tests.simulation.storefile import StoreFile
from tests.simulation.vendor import Vendor


@dataclass(slots=True)
class Site:
    """One destination as it is configured, and its files."""

    config: DestinationConfig
    limits: Limits
    store: StoreFile
    vendor: Vendor
    flight: ModelFlight = field(default_factory=ModelFlight)
