from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import apsw
import pytest

from sluicegate.accounts import store_schema
from sluicegate.config.declaration import Limits
from sluicegate.delivery.breaker import BreakerState
from sluicegate.delivery.budget import CAPACITY, REFILL_PER_S, THROTTLED_COST
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.restraint import Outage, Restraint
from sluicegate.delivery.store import DestinationStore
from sluicegate.destinations.base import Batch
from sluicegate.errors import Retry, StaleEpoch
from sluicegate.sqlite import connect
from tests.delivery.lanes_harness import Harness
from tests.delivery.old_layouts import take_back

CALL_S = 0.05
SUBJECTS = [f"s{n}" for n in range(3_000)]


class Destination:
    """A destination whose process is stopped every so often, and which remembers what the store would."""

    def __init__(self, vendor: Retry, *, heal_s: float) -> None:
        self.vendor = vendor
        self.heal_s = heal_s
        self.now = 0.0
        self.cursor = 0
        self.calls: list[float] = []
        self.recovery = Recovery()

    def live(self, until_s: float) -> None:
        harness = Harness(
            self.answer,
            limits=Limits(max_events=10, in_flight=4),
            subjects=SUBJECTS,
            cursor=self.cursor,
            recovery=self.recovery,
            duration_s=lambda: CALL_S,
        )
        harness.now = self.now
        harness.run(max_s=until_s)
        self.calls += [at for at, _ in harness.calls]
        while harness.running:
            harness.now = harness.running[0][0]
            harness.end_calls()
        harness.account()
        self.cursor = harness.total.cursor
        self.now = max(until_s, self.calls[-1] + CALL_S)
        retries = harness.lanes.retries(self.now, anyway=True) or []
        self.recovery = Recovery(retries, (), self.now, harness.lanes.restraint(self.now))

    def answer(self, batch: Batch, now: float) -> Retry | None:
        return self.vendor if now < self.heal_s else None


@pytest.mark.parametrize("seed", range(4))
def test_vendor_in_an_outage_gets_one_call_at_a_time_however_often_the_process_dies(seed: int) -> None:
    random, destination = Random(seed), Destination(Retry("500").answered(500), heal_s=7_200)
    destination.live(120)
    opened_at = len(destination.calls)

    while destination.now < 7_200:
        destination.live(destination.now + random.uniform(1, 200))

    in_outage = [at for at in destination.calls[opened_at:] if at < 7_200]
    assert in_outage
    assert len(in_outage) <= 7_200 / 300 + 4
    assert all(later - earlier >= 60.0 for earlier, later in pairwise(in_outage))


@pytest.mark.parametrize("seed", range(4))
def test_throttling_vendor_gets_no_more_retries_than_one_budget_has_however_often_the_process_dies(seed: int) -> None:
    random, destination = Random(seed), Destination(Retry("slow down").answered(429), heal_s=3_600)
    destination.live(60)
    first = len(destination.calls)

    while destination.now < 3_600:
        destination.live(destination.now + random.uniform(1, 10))

    fresh = 4 + 16  # lanes there may be
    assert THROTTLED_COST * (len(destination.calls) - first - fresh) <= CAPACITY + 3_600 * REFILL_PER_S


def test_everything_is_delivered_after_an_outage_with_deaths() -> None:
    destination = Destination(Retry("500").answered(500), heal_s=3_600)
    while destination.now < 3_600:
        destination.live(destination.now + 45)

    destination.live(8_000)

    assert destination.cursor == len(SUBJECTS)


def test_vendor_that_asked_for_an_hour_without_calls_has_it_from_the_next_process_too() -> None:
    destination = Destination(Retry("later", after_s=3_600).answered(503), heal_s=10)
    destination.live(5)
    before = len(destination.calls)

    destination.live(3_000)
    quiet = len(destination.calls)
    destination.live(8_000)

    assert quiet == before
    assert destination.cursor == len(SUBJECTS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


def test_store_keeps_what_holds_calls_back_for_the_next_process_of_the_same_configuration(path: Path) -> None:
    now = time.monotonic()
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    first = store.restrained(1, "hash")
    store.commit(1, cursor=0, restraint=Restraint(now, Outage(now + 90.0, 120.0, True), now + 500.0, 17.5))
    store.close()
    store = DestinationStore.open(path, start=0)
    store.claim(2)

    found = store.restrained(2, "hash")

    assert first is None
    assert found is not None and found.outage is not None
    assert (found.outage.open_s, found.outage.general, found.tokens) == (120.0, True, 17.5)
    assert found.outage.until == pytest.approx(now + 90.0, abs=1.0)
    assert found.not_before == pytest.approx(now + 500.0, abs=1.0)
    store.close()


def test_destination_that_was_configured_anew_is_tried_at_once(path: Path) -> None:
    now = time.monotonic()
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.restrained(1, "old address")
    store.commit(1, cursor=0, restraint=Restraint(now, Outage(now + 90.0, 120.0, True)))

    assert store.restrained(1, "new address") is None
    assert store.restrained(1, "old address") is None
    store.close()


def test_end_of_an_outage_is_remembered_too(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.restrained(1, "hash")
    store.commit(1, cursor=0, restraint=Restraint(1.0, Outage(90.0, 120.0, True), 500.0, 17.5))
    store.commit(1, cursor=0, restraint=Restraint(2.0))

    found = store.restrained(1, "hash")

    assert found is not None
    assert replace(found, at=2.0) == Restraint(2.0)
    store.close()


def test_replaced_epoch_takes_nothing_over(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(2)

    with pytest.raises(StaleEpoch):
        store.restrained(1, "hash")
    store.close()


def test_store_of_version_3_is_brought_up(path: Path) -> None:
    DestinationStore.open(path, start=4).close()
    old = apsw.Connection(str(path))
    take_back(old, 3)
    old.close()

    store = DestinationStore.open(path, start=0)

    store.claim(1)
    assert store.restrained(1, "hash") is None
    assert store.state.start == 4
    store.close()
    assert connect(path, store_schema(0), readonly=True).pragma("user_version") == store_schema(0).version


def test_open_breaker_that_was_taken_over_is_open_from_the_first_moment() -> None:
    restraint = Restraint(0.0, Outage(50.0, 60.0, True))

    harness = Harness(
        lambda batch, now: None, limits=Limits(), subjects=["a"], recovery=Recovery((), (), 0.0, restraint)
    )

    assert harness.lanes.breaker.state is BreakerState.OPEN
    assert harness.lanes.next_due(0.0) == 50.0


def test_what_failed_in_the_last_process_waits_too_for_the_end_of_the_time_that_the_vendor_asked_for() -> None:
    failed = PendingRetry(0, [1], 1, 0.0, 0.0, "429")
    recovery = Recovery([failed], (), 0.0, Restraint(0.0, None, not_before=500.0))
    harness = Harness(lambda batch, now: None, limits=Limits(), subjects=["a", "b"], recovery=recovery)

    harness.run()

    assert min(at for at, _ in harness.calls) == 500.0
    assert sorted(harness.delivered) == [1, 2]
