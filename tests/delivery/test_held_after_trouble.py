from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig, Requirement
from sluicegate.consent.evidence import Told
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.delivery.gate import Gate
from sluicegate.delivery.held import HeldEvents, HoldBounds, Holds
from sluicegate.delivery.held_log import HeldLog
from sluicegate.delivery.holding import Holding
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogUnavailable
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.paths import DataDir
from sluicegate.routing import Decision
from sluicegate.testing.batches import add_event
from tests.delivery.consenting import EVENT_MS, record, told

WIDE = HoldBounds(1_000, 1_000)
HOLD_MS = 60_000


@dataclass
class Held:
    """A destination that holds one event, and has to look at it: its rules are not those that it was held by."""

    data_dir: DataDir
    store: DestinationStore
    now_ms: int = EVENT_MS + 1

    def __post_init__(self) -> None:
        log, batch = MemoryLog(), EventBatch()
        add_event(batch, b"{}", message_id="a", combo=Combo("track", "web"), anonymous_id="visitor", time_ms=EVENT_MS)
        log.append([batch], received_at_ms=EVENT_MS)
        self.ledger = LedgerReader(self.data_dir.consent, self.data_dir.consent_key, Rules())
        consent = ConsentConfig(hold_ttl_s=HOLD_MS / 1_000)
        self._gate = Gate(self.ledger, Requirement(("marketing",)), consent, clock_ms=lambda: self.now_ms)
        lanes = Lanes(1, Limits(), gate=self._gate)
        held_log = HeldLog(log, self._gate, lambda combo: Decision.CONSENT_UNDECIDED)
        self._holding = Holding(self.store, log, self._gate, lanes, held_log, epoch=1, bounds=WIDE)
        self._reader = Reader(log, lambda combo: None, lanes, may_go_on=self._holding.catch_up)

    def look(self) -> None:
        """What a destination does every two seconds."""
        self._gate.refresh()
        self._holding.catch_up()
        self._holding.expire()

    def read_on(self) -> int:
        """What it does when the log has grown, or it has had trouble."""
        return self._reader.fill()

    def account(self) -> tuple[int, dict[str, int], dict[int, int]]:
        state = self.store.state
        return state.held, dict(state.denied), dict(self.store.held.released(limit=2))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    store.claim(1)
    store.commit(1, cursor=1, held=Holds([HeldRow(1, 7, None, EVENT_MS)], 0, "other rules", WIDE))
    held = Held(DataDir(tmp_path), store)
    with closing(store), closing(held.ledger):
        yield held


@pytest.mark.parametrize(
    ("decision", "account"),
    [
        (told(True, at_ms=EVENT_MS + HOLD_MS), (1, {}, {1: 0})),
        (told(False, at_ms=EVENT_MS + HOLD_MS), (0, {"consent_denied": 1}, {})),
        (told(True, at_ms=EVENT_MS + HOLD_MS + 1), (0, {"hold_expired": 1}, {})),
        (told(False, at_ms=EVENT_MS + HOLD_MS + 1), (0, {"consent_denied": 1}, {})),
    ],
    ids=["granted in time", "denied in time", "granted too late", "denied before anybody noticed that it was too late"],
)
def test_what_was_decided_after_a_look_that_failed_counts(
    held: Held, monkeypatch: pytest.MonkeyPatch, decision: Told, account: tuple[int, dict[str, int], dict[int, int]]
) -> None:
    with monkeypatch.context() as trouble, pytest.raises(LogUnavailable):
        trouble.setattr(HeldEvents, "of", _is_locked)
        held.look()
    record(held.data_dir, [decision])
    held.now_ms = EVENT_MS + HOLD_MS + 2

    read = held.read_on()
    held.look()

    assert (read, held.account()) == (0, account)


def _is_locked(self: HeldEvents, numbers: object) -> list[int]:
    raise LogUnavailable("the store is locked")
