"""What becomes of events while the consent ledger cannot be read for a moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.consent.standing import SubjectConsent
from sluicegate.consent.subject import Ids
from sluicegate.consent.view import LedgerView
from sluicegate.errors import LogUnavailable
from tests.delivery.consenting import record, told
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
