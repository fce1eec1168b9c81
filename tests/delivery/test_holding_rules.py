from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, Requirement
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HoldBounds, Holds
from sluicegate.delivery.held_log import HeldLog
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.routing import Decision
from sluicegate.testing.batches import add_event

WIDE = HoldBounds(1_000, 1_000)


def test_held_events_count_as_judged_when_all_of_them_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.delivery.holding.AT_A_TIME", 1)
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    store.claim(1)
    store.commit(1, cursor=2, held=Holds([HeldRow(1, 7, None, 0), HeldRow(2, 7, None, 0)], 0, "other rules", WIDE))
    log, batch = MemoryLog(), EventBatch()
    for id_ in ("a", "b", "c"):
        add_event(batch, b"{}", message_id=id_, combo=Combo("track", "web"))
    log.append([batch], received_at_ms=0)
    reader = LedgerReader(tmp_path / "consent.db", tmp_path / "consent.key", Rules())
    gate = Gate(reader, Requirement(("marketing",)), ConsentConfig(), clock_ms=lambda: 1)
    held_log = HeldLog(log, gate, lambda combo: Decision.CONSENT_UNDECIDED)
    holding = Holding(store, log, gate, Lanes(2, Limits(), gate=gate), held_log, epoch=1, bounds=WIDE)

    holding.catch_up()
    store.commit(1, cursor=3, held=holding.holds([HeldRow(3, 7, None, 0)]))
    after_one = store.state.held_under
    while holding.busy:
        holding.catch_up()

    assert (after_one, store.state.held_under) == ("other rules", gate.under)
    store.close()
    reader.close()
