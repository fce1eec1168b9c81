from __future__ import annotations

from dataclasses import replace

from sluicegate.loading.effects import BatchDone, Spawn
from tests.loading.driver import CONFIG, Driver


def test_batch_loads_so_many_at_a_time_and_reports_each() -> None:
    driver = Driver("a", "b", "c")

    begun = driver.table.load_batch("r", ["a", "b", "c", "x"], now=driver.now, batch_size=2)
    next_one = driver.ready("a")
    failed = driver.fail("b", "no plugin")
    done = driver.ready("c")

    assert begun == [Spawn("a", 1), Spawn("b", 1)]
    assert next_one == [Spawn("c", 1)]
    assert failed == []
    assert done == [
        BatchDone("r", {"a": None, "b": "no plugin", "x": "no enabled destination is named 'x'", "c": None})
    ]


def test_batch_of_what_is_loaded_paused_or_failing_is_answered_at_once() -> None:
    driver = Driver("a", "b", "c")
    driver.load("a", "c")
    driver.table.pause("b", now=driver.now, reason="maintenance")
    driver.exit("c")

    effects = driver.table.load_batch("r", ["a", "b", "c"], now=driver.now)

    assert effects == [
        BatchDone(
            "r",
            {
                "a": None,
                "b": "paused: maintenance",
                "c": "backing_off: the process ended unexpectedly while running; try it now with `sluicegate retry c`",
            },
        )
    ]


def test_batch_does_not_wait_for_capacity_for_ever() -> None:
    driver = Driver("a", "b", config=replace(CONFIG, max_loaded=1, stall_timeout_s=1_000.0))
    driver.load("a")
    driver.progress("a", caught_up=False)
    driver.table.load_batch("r", ["b"], now=driver.now)

    effects = driver.wait(60.0)

    assert effects == [BatchDone("r", {"b": "waiting for capacity"})]


def test_empty_batch_is_answered() -> None:
    driver = Driver("a")

    assert driver.table.load_batch("r", [], now=driver.now) == [BatchDone("r", {})]


def test_batch_ends_when_its_destination_is_paused_or_unloaded() -> None:
    driver = Driver("a", "b")
    driver.table.load_batch("r", ["a", "b"], now=driver.now)

    driver.table.pause("a", now=driver.now, reason="maintenance")
    effects = driver.table.unload("b", now=driver.now)

    assert BatchDone("r", {"a": "paused: maintenance", "b": "unloaded before it was loaded"}) in effects
