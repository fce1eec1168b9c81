"""Seeded interleavings; a failing one is named by its seed and can be run alone with `run(seed)`."""

from __future__ import annotations

import pytest

from tests.loading.world import World

SHARDS = 8
INTERLEAVINGS = 100_000
FAULT_STEPS = 24


def run(seed: int) -> int:
    world = World(seed)
    for _ in range(FAULT_STEPS):
        world.fault_step()
    world.heal()
    if seed % 10 == 0:
        world.drain()
    return world.spawns


@pytest.fixture(autouse=True)
def short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this world nothing runs for as long as a shortage of memory leaves a new process alone; set for `run` too."""
    monkeypatch.setattr("sluicegate.loading.shedding.MIN_LOADED_S", 0.5)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_interleaving_loses_a_wake_up_or_starts_twice(shard: int) -> None:
    spawns = 0
    for seed in range(shard, INTERLEAVINGS, SHARDS):
        try:
            spawns += run(seed)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")

    assert spawns > INTERLEAVINGS // SHARDS
