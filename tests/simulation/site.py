"""What stays of a destination whatever becomes of its processes, and the spread of subjects that a seed needs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from unittest import mock
from zlib import crc32

from sluicegate.config.declaration import Limits
from sluicegate.config.model import DestinationConfig
from sluicegate.delivery import backlog
from tests.simulation.flight import ModelFlight
from tests.simulation.store import StoreFile
from tests.simulation.vendor import Vendor


def _slots_of(subjects: Iterable[str]) -> bytes:
    return bytes([crc32(subject.encode()) % backlog.N_SLOTS for subject in subjects])


@contextlib.contextmanager
def same_everywhere() -> Iterator[None]:
    """The product spreads subjects by `hash`, which differs between processes; a seed must not."""
    original = backlog.slots_of
    with contextlib.ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            if name.startswith("sluicegate.delivery.") and getattr(module, "slots_of", None) is original:
                patches.enter_context(mock.patch.object(module, "slots_of", _slots_of))
        yield


@dataclass(slots=True)
class Site:
    """What stays of a destination whatever becomes of its processes."""

    config: DestinationConfig
    limits: Limits
    store: StoreFile
    vendor: Vendor
    flight: ModelFlight = field(default_factory=ModelFlight)
