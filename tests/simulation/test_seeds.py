from __future__ import annotations

import pytest

from tests.simulation.faults import Fault
from tests.simulation.runner import explain, explore

SEEDS = 2_000
SHARDS = 4
SEEN = (
    "StaleEpoch",
    "dead letter: crashed",
    "dead letter: given_up",
    "dead letter: rejected",
    "death in a call",
    "delivered",
    "duplicate",
    "expired",
    "skip",
    "wish at the last moment",
    "withdrawal that waited",
    "withdrawn in time",
)
RARE = {"completed by the ledger": (85, 133), "replayed": (430, 460)}
"""What does not happen in every share of the seeds, and seeds in which it does."""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_seed_breaks_a_rule_and_every_fault_fires(shard: int) -> None:
    report = explore(range(shard, SEEDS, SHARDS))

    print(report.text())
    assert not report.failures, explain(report.failures)
    assert [kind for kind in Fault if not report.fired[kind]] == []
    assert [what for what in SEEN if not report.seen[what]] == []


@pytest.mark.parametrize("what", RARE)
def test_rare_thing_happens_in_some_seed(what: str) -> None:
    report = explore(RARE[what])

    assert report.seen[what]
