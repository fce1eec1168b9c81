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


def draining() -> Driver:
    driver = Driver("a", "b")
    driver.load("a", "b")
    driver.table.drain_all("d", now=driver.now, deadline_s=19.0)
    return driver


def seen(driver: Driver, id: str, *, still: bool) -> None:
    driver.table.seen(id, driver.table.status(id).epoch, now=driver.now, still=still)


def test_process_that_stands_still_is_not_waited_for_when_all_are_to_end() -> None:
    driver = draining()
    seen(driver, "a", still=True)

    early = driver.wait(1.9)
    seen(driver, "a", still=True)
    late = driver.wait(0.1)

    assert (early, late) == ([], [Kill("a", 1)])
    assert driver.exit("a") == []
    assert driver.exit("b") == [Drained("d")]
    assert driver.table.status("a").error is None


def test_process_that_goes_on_again_may_end_by_itself() -> None:
    driver = draining()
    seen(driver, "a", still=True)
    driver.wait(1.9)
    seen(driver, "a", still=False)
    driver.wait(0.1)
    seen(driver, "a", still=True)

    assert driver.wait(1.9) == []


def test_supervisor_that_was_stopped_itself_blames_nobody_for_standing_still_meanwhile() -> None:
    driver = draining()
    seen(driver, "a", still=True)
    driver.now += 16.0

    assert driver.table.tick(now=driver.now) == []


def test_standing_still_is_looked_for_often_when_all_are_to_end() -> None:
    driver = draining()

    deadline = driver.table.next_deadline(now=driver.now)

    assert deadline is not None and deadline <= driver.now + 0.5


def test_process_that_stands_still_keeps_its_time_when_only_it_is_to_end() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.unload("a", now=driver.now)
    seen(driver, "a", still=True)

    assert driver.wait(19.0) == []


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
