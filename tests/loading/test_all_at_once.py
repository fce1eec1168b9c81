from __future__ import annotations

from sluicegate.loading.effects import BatchDone, Drained, Kill, RequestStop
from sluicegate.loading.status import State
from sluicegate.messages.status import Stats
from tests.loading.driver import Driver


def test_clear_all_stops_everything_and_forgets_failures_but_not_pauses() -> None:
    driver = Driver("a", "b", "c")
    driver.load("a", "b")
    driver.exit("b")
    driver.table.pause("c", now=driver.now, reason="maintenance")

    effects = driver.table.clear_all(now=driver.now)
    driver.exit("a")

    assert effects == [RequestStop("a", 1, 20.0)]
    assert [driver.state(id) for id in ("a", "b", "c")] == [State.REGISTERED, State.REGISTERED, State.PAUSED]
    assert driver.wait(1_000.0) == []


def test_drain_ends_when_the_last_process_is_gone_and_starts_nothing_more() -> None:
    driver = Driver("a", "b")
    driver.load("a", "b")
    driver.table.load_batch("r", ["c"], now=driver.now)

    begun = driver.table.drain_all("d", now=driver.now, deadline_s=5.0)
    driver.exit("a")
    late = driver.wait(5.0)
    done = driver.exit("b")

    assert begun == [RequestStop("a", 1, 5.0), RequestStop("b", 1, 5.0)]
    assert late == [Kill("b", 1)]
    assert done == [Drained("d")]
    assert driver.ensure("a") == []
    assert driver.table.retry("a", now=driver.now) == []
    assert driver.table.drain_all("again", now=driver.now) == [Drained("again")]


def test_batch_under_way_is_answered_by_the_drain() -> None:
    driver = Driver("a")
    driver.table.load_batch("r", ["a"], now=driver.now)

    effects = driver.table.drain_all("d", now=driver.now)

    assert effects == [BatchDone("r", {"a": "the system is going down"}), RequestStop("a", 1, 20.0)]


def test_batch_that_comes_after_the_drain_is_answered_at_once() -> None:
    driver = Driver("a", "b")
    driver.table.drain_all("d", now=driver.now)

    effects = driver.table.load_batch("r", ["a", "b"], now=driver.now, batch_size=1)

    assert effects == [BatchDone("r", {"a": "the system is going down", "b": "the system is going down"})]


def test_counts() -> None:
    driver = Driver("a", "b", "c", "d")
    driver.load("a", "b")
    driver.progress("a")
    driver.exit("b")
    driver.ensure("c")

    assert driver.table.stats() == Stats(registered=4, loaded=1, loading=1, failed=1, cached=1)
    assert driver.table.running() == ("a", "c")


def test_nothing_loaded_needs_no_timer() -> None:
    driver = Driver("a", "b")
    driver.load("a")
    driver.table.unload("a", now=driver.now)

    driver.exit("a")

    assert driver.table.next_deadline(now=driver.now) is None
