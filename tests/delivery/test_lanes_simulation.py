from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from tests.delivery.lanes_harness import Harness


class Vendor:
    """Ends calls at random, refuses the events in `bad` for good, and notes what it has stored."""

    def __init__(self, random: Random, bad: frozenset[int]) -> None:
        self.random = random
        self.bad = bad
        self.stored: list[int] = []
        self.trouble = random.random() * 0.8

    def __call__(self, batch: Batch, now: float) -> BaseException | None:
        if self.random.random() < self.trouble and now < 3600:
            after_s = self.random.choice([None, None, 0.0, 5.0, -1.0])
            return self.random.choice([Retry("busy", after_s=after_s), ConnectionError("reset"), ValueError("bug")])
        bad = {index: "bad" for index, offset in enumerate(batch.offsets) if offset in self.bad}
        good = [offset for offset in batch.offsets if offset not in self.bad]
        if not bad:
            self.stored += good
            return None
        match self.random.randrange(3):
            case 0:
                return Rejected("400")
            case 1:
                self.stored += good
                return Rejected(bad)
            case _:
                return Rejected(bad, rest_delivered=False)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_events=st.integers(0, 400),
    n_subjects=st.integers(1, 60),
    max_events=st.integers(1, 60),
    in_flight=st.integers(1, 8),
)
def test_every_offset_is_settled_once_in_order_whatever_the_vendor_does(
    seed: int, n_events: int, n_subjects: int, max_events: int, in_flight: int
) -> None:
    random = Random(seed)
    subjects = [f"s{random.randrange(n_subjects)}" for _ in range(n_events)]
    denied = frozenset(i for i in range(n_events) if random.random() < 0.2)
    bad = frozenset(i + 1 for i in range(n_events) if random.random() < 0.03 and i not in denied)
    vendor = Vendor(random, bad)
    harness = Harness(
        vendor,
        limits=Limits(max_events=max_events, max_bytes=random.randrange(40, 2_000), in_flight=in_flight),
        subjects=subjects,
        denied=denied,
        duration_s=lambda: random.choice([0.0005, 0.05, 3.0]),
        seed=seed,
    )

    total = harness.run()

    good = [i + 1 for i in range(n_events) if i not in denied and i + 1 not in bad]
    assert total.cursor == n_events
    assert sorted(vendor.stored) == good
    assert sorted(one.offset for one in total.dead) == sorted(bad)
    assert (total.delivered, sum(total.denied.values())) == (len(good), len(denied))
    per_subject: dict[str, list[int]] = {}
    for offset in vendor.stored:
        per_subject.setdefault(subjects[offset - 1], []).append(offset)
    assert all(offsets == sorted(offsets) for offsets in per_subject.values())
