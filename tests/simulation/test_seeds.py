from __future__ import annotations

import pytest

from tests.simulation.faults import Fault
from tests.simulation.runner import explain, explore

SEEDS = 2_000
SHARDS = 4
SEEN = (
    "StaleEpoch",
    "completed by the ledger",
    "dead letter: crashed",
    "dead letter: given_up",
    "dead letter: rejected",
    "death in a call",
    "delivered",
    "duplicate",
    "expired",
    "replayed",
    "skip",
    "wish at the last moment",
    "withdrawal answered late",
    "withdrawal that waited",
    "withdrawn in time",
)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_seed_breaks_a_rule_and_every_fault_fires(shard: int) -> None:
    report = explore(range(shard, SEEDS, SHARDS))

    print(report.text())
    assert not report.failures, explain(report.failures)
    assert [kind for kind in Fault if not report.fired[kind]] == []
    assert [what for what in SEEN if not report.seen[what]] == []
