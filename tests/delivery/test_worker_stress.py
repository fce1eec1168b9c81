from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from tests.delivery.world import NO, YES, World
from tests.doubles.vendor import Vendor

N_EVENTS = 3_000


class Moody:
    """Fails at random, refuses ids that end in 77, and notes what it took."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.lock = threading.Lock()
        self.taken: list[str] = []
        self.busy: set[str] = set()

    def __call__(self, batch: Batch) -> None:
        subjects = {id_.split("-")[0] for id_ in batch.message_ids}
        with self.lock:
            assert not self.busy & subjects, "a subject is in two calls"
            self.busy |= subjects
            mood = self.random.random()
        try:
            if mood < 0.1:
                raise self.random.choice([Retry("busy"), OSError("reset"), ValueError("bug")])
            if mood < 0.4:
                threading.Event().wait(0.01)
            bad = {index: "refused" for index, id_ in enumerate(batch.message_ids) if id_.endswith("77")}
            if bad and mood < 0.7:
                raise Rejected("400")
            with self.lock:
                self.taken += [id_ for index, id_ in enumerate(batch.message_ids) if index not in bad]
            if bad:
                raise Rejected(bad)
        finally:
            with self.lock:
                self.busy -= subjects


@pytest.mark.parametrize("in_flight", [1, 4])
def test_accounts_and_order_hold_while_the_vendor_fails_and_the_worker_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_BASE_S", 0.002)
    monkeypatch.setattr("sluicegate.delivery.lanes.RETRY_CAP_S", 0.01)
    world, moody, random = World(tmp_path), Moody(in_flight), Random(7)
    vendor = Vendor(moody, Limits(max_events=50, in_flight=in_flight))
    world.start(vendor)

    number = 0
    while number < N_EVENTS:
        n_events = random.choice([1, 1, 30, 100])
        subject = f"s{random.randrange(40)}"
        ids = [f"{subject}-{n:05d}" for n in range(number, number + n_events)]
        world.append(*ids, combo=NO if random.random() < 0.2 else YES, subject=subject)
        number += n_events
        if random.random() < 0.1:
            world.stop()
            world.start(vendor)
    world.wait_caught_up()
    world.stop()

    state = world.state()
    head = world.log.head()
    world.bell.close()
    world.log.close()
    assert state.cursor == head == state.delivered + state.dead + sum(state.denied.values())
    assert len(set(moody.taken)) == state.delivered
    assert state.dead > 0
    firsts = list(dict.fromkeys(moody.taken))
    for subject in {id_.split("-")[0] for id_ in firsts}:
        order = [id_ for id_ in firsts if id_.startswith(f"{subject}-")]
        assert order == sorted(order)
