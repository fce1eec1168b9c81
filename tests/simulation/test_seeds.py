from __future__ import annotations

import pytest

from tests.simulation.faults import Fault
from tests.simulation.runner import explain, explore

SEEDS = 2_000
SHARDS = 4
SEEN = (
    "completed after it had waited",
    "completed by the ledger",
    "dead beyond the cursor",
    "dead letter: crashed",
    "dead letter: given_up",
    "dead letter: rejected",
    "death in a call",
    "delivered",
    "duplicate",
    "erased after it was tried",
    "erased events",
    "erased letters",
    "erasing had to wait",
    "expired",
    "held",
    "held, then delivered",
    "held, then denied:consent_denied",
    "held, then denied:erased",
    "held, then denied:hold_expired",
    "held, then denied:suppressed",
    "held, then expired",
    "hold limit",
    "not taken",
    "place given in an outage",
    "regulated in flight",
    "regulated while dead",
    "regulated while held",
    "regulated: UNSUPPRESS",
    "settled beyond the cursor",
    "skip",
    "suppressed after it was tried",
    "wish at the last moment",
    "withdrawal that waited",
    "withdrawn in time",
)
RARE = {
    "held, then dead: crashed": (398, 482, 531, 576),
    "held, then dead: given_up": (889, 1_126, 1_621, 1_756),
    "held, then dead: rejected": (614, 682, 889, 998),
    "held, then denied:consent_undecided": (51, 77, 693, 867),
    "held, then denied:withdrawn": (1, 111, 192, 301),
    "StaleEpoch": (272, 361, 371, 400),
    "replayed": (324, 1_011, 1_640, 1_672),
    "withdrawal answered late": (192,),
}
"""What does not happen in every share of the seeds, and seeds in which it does."""
RARE_FAULTS = {Fault.KILL_HANGS: (159, 204)}
"""Faults that do not fire in every share either."""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_seed_breaks_a_rule_and_every_fault_fires(shard: int) -> None:
    report = explore(range(shard, SEEDS, SHARDS))

    print(report.text())
    assert not report.failures, explain(report.failures)
    assert [kind for kind in Fault if kind not in RARE_FAULTS and not report.fired[kind]] == []
    assert [what for what in SEEN if not report.seen[what]] == []


@pytest.mark.parametrize("what", RARE)
def test_rare_thing_happens_in_some_seed(what: str) -> None:
    report = explore(RARE[what])

    assert report.seen[what]


@pytest.mark.parametrize("fault", RARE_FAULTS)
def test_rare_fault_fires_in_some_seed(fault: Fault) -> None:
    assert explore(RARE_FAULTS[fault]).fired[fault]
