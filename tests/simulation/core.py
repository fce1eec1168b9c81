"""The product's delivery core over the model's log, store and ledger, put together as `delivery.loop` does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sluicegate.config.declaration import Settings
from sluicegate.consent.reading import LedgerReader
from sluicegate.delivery.commits import Commits
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HoldBounds
from sluicegate.delivery.held_log import HeldLog
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.plugin import Mask, permits_of
from sluicegate.delivery.reader import Decide, Reader
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.store import DestinationStore
from tests.simulation.ledger import ModelReader
from tests.simulation.site import Site
from tests.simulation.store import ModelStore

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Core:
    """What one process decides and delivers with."""

    permits: Decide
    gate: Gate
    lanes: Lanes
    reader: Reader
    holding: Holding
    commits: Commits

    @classmethod
    def of(
        cls,
        world: World,
        site: Site,
        *,
        store: ModelStore,
        epoch: int,
        cursor: int,
        recovery: Recovery,
        may_go_on: Callable[[], bool],
    ) -> Core:
        """That of a process which goes on from a cursor."""
        log, permits, consent = world.log, permits_of(site.config, Settings), world.consent_config
        opened = cast(DestinationStore, store)
        ledger = cast(LedgerReader, ModelReader(world))
        gate = Gate(ledger, site.config.requires, consent, clock_ms=world.now_ms)
        lanes = Lanes(cursor, site.limits, recovery=recovery, gate=gate, random=world.jitter)
        reader = Reader(log, permits, lanes, may_go_on=may_go_on)
        held_log, bounds = HeldLog(log, gate, permits), HoldBounds.of(consent)
        holding = Holding(opened, log, gate, lanes, held_log, epoch=epoch, bounds=bounds)
        commits = Commits(opened, lanes, reader, epoch=epoch, mask=Mask(), holding=holding)
        return cls(permits, gate, lanes, reader, holding, commits)
