"""What becomes of events while the consent ledger cannot be read for a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.config.model import ConsentConfig
from sluicegate.consent.standing import SubjectConsent
from sluicegate.consent.subject import Ids
from sluicegate.consent.view import LedgerView
from sluicegate.delivery.gate import Gate
from sluicegate.destinations.base import Batch
from sluicegate.errors import LogUnavailable
from sluicegate.eventlog.runs import Events
from tests.delivery.consenting import record, told
from tests.delivery.test_enforcement import SILENT
from tests.delivery.world import World
from tests.doubles.vendor import Vendor


def failing_once(when: Callable[[], bool] = lambda: True) -> Callable[[LedgerView, Sequence[Ids]], object]:
    """A look-up that fails the first time that it is so."""
    look_up: Callable[[LedgerView, Sequence[Ids]], list[SubjectConsent]] = LedgerView.of_many
    failed: list[bool] = []

    def of_many(view: LedgerView, subjects: Sequence[Ids]) -> list[SubjectConsent]:
        if not failed and when():
            failed.append(True)
            raise LogUnavailable("consent.db: disk I/O error")
        return look_up(view, subjects)

    return of_many


def test_who_has_refused_gets_nothing_sent_after_one_look_into_the_ledger_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.lanes.LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(LedgerView, "of_many", failing_once())
    record(world.data_dir, [told(False, visitor="b"), told(False, visitor="c")])
    vendor = Vendor(limits=Limits(max_events=1, in_flight=3))
    world.append("a", "b", "c")  # their stamps grant; b and c have refused since

    world.start(vendor)
    world.wait(lambda: world.state().cursor == 3)

    assert vendor.events == ["a"]
    assert world.state().denied == {"withdrawn": 2}


def test_delivered_events_stay_delivered_when_the_ledger_cannot_be_read_right_after_their_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.consent = ConsentConfig(allow_unasked=True)
    record(world.data_dir, [told(True, visitor="somebody")])
    counting = threading.Event()
    count = Gate.note_delivered

    def note_delivered(gate: Gate, events: Events) -> None:
        counting.set()
        try:
            count(gate, events)
        finally:
            counting.clear()

    together = threading.Barrier(3)

    def answer(batch: Batch) -> None:
        together.wait(10)

    monkeypatch.setattr(Gate, "note_delivered", note_delivered)
    monkeypatch.setattr(LedgerView, "of_many", failing_once(counting.is_set))
    vendor = Vendor(answer, Limits(max_events=1, in_flight=3))
    world.append("a", "b", "c", combo=SILENT._replace(unasked=True))

    world.start(vendor)
    world.wait(lambda: world.state().cursor == 3)

    assert sorted(vendor.events) == ["a", "b", "c"]
    assert world.state().delivered == 3
