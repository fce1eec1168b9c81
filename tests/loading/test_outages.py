from __future__ import annotations

from dataclasses import replace

from sluicegate.loading.effects import Effect, PersistPause, RequestStop, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import CONFIG, Driver

PAIR = replace(CONFIG, max_loaded=2, stall_timeout_s=1_000.0)
ONE = replace(PAIR, max_loaded=1)


def in_outage(*more: str, rests_s: float = 60.0) -> Driver:
    """One place, which `a` has while nothing goes out to its vendor; the others have none."""
    driver = Driver("a", *more, config=ONE)
    driver.load("a")
    driver.progress("a", caught_up=False, rests_s=rests_s)
    return driver


def test_destination_whose_next_attempt_is_furthest_away_makes_room() -> None:
    driver = Driver("a", "b", "c", config=PAIR)
    driver.load("a", "b")
    driver.progress("a", caught_up=False, rests_s=60.0)
    driver.progress("b", caught_up=False, rests_s=300.0)

    effects = driver.ensure("c")

    assert effects == [RequestStop("b", 1, 20.0)]
    assert driver.exit("b") == [Spawn("c", 1)]
    assert (driver.state("a"), driver.state("b"), driver.state("c")) == (
        State.LOADED,
        State.BACKING_OFF,
        State.LOADING,
    )


def test_idle_destination_makes_room_before_one_that_rests() -> None:
    driver = Driver("a", "b", "c", config=PAIR)
    driver.load("a", "b")
    driver.progress("a", caught_up=False, rests_s=300.0)
    driver.progress("b")

    assert driver.ensure("c") == [RequestStop("b", 1, 20.0)]


def test_destination_keeps_its_place_while_nobody_waits_for_it() -> None:
    driver = Driver("a", "b", config=PAIR)
    driver.load("a")
    driver.progress("a", caught_up=False, rests_s=300.0)

    assert driver.ensure("b") == [Spawn("b", 1)]


def test_destination_that_made_room_is_started_when_its_attempt_is_due_and_nobody_asks_for_it() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")
    driver.ready("b")
    driver.progress("b")

    early = driver.wait(59.0)
    due = driver.wait(1.0)

    assert early == []
    assert due == [RequestStop("b", 1, 20.0)]
    assert driver.exit("b") == [Spawn("a", 2)]
    assert driver.table.status("a").next_attempt_at is None


def test_being_asked_for_does_not_bring_it_back_before_its_attempt_is_due() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")
    driver.load("b")
    driver.progress("b")

    assert driver.ensure("a") == []


def test_status_tells_why_it_has_no_process_and_when_it_will() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")

    status = driver.table.status("a")

    assert (status.state, status.next_attempt_at, status.retry_count) == (State.BACKING_OFF, driver.now + 60.0, 0)
    assert status.reason == "its place went to another until its vendor is tried again"
    assert status.error is not None


def test_attempt_that_is_about_to_be_made_is_waited_for() -> None:
    driver = in_outage("b", rests_s=9.0)

    assert driver.ensure("b") == []
    assert driver.wait(5.0) == []


def test_destination_that_works_again_does_not_make_room() -> None:
    driver = in_outage("b")
    driver.progress("a", caught_up=False)

    assert driver.ensure("b") == []


def test_retry_brings_it_back_at_once() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")
    driver.load("b")
    driver.progress("b")

    assert driver.table.retry("a", now=driver.now) == [RequestStop("b", 1, 20.0)]


def test_attempt_that_is_due_while_its_process_still_ends_is_made_after_that() -> None:
    driver = Driver("a", "b", config=ONE)
    driver.load("a")
    driver.progress("a", caught_up=False, rests_s=10.0)
    driver.ensure("b")
    driver.wait(15.0)

    assert driver.exit("a") == [Spawn("b", 1)]
    driver.ready("b")
    assert driver.progress("b") == [RequestStop("b", 1, 20.0)]
    assert driver.exit("b") == [Spawn("a", 2)]


def test_destination_that_is_unloaded_after_it_made_room_stays_so() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")
    driver.table.unload("a", now=driver.now)

    driver.wait(100.0)

    assert driver.state("a") is State.REGISTERED


def test_pause_of_one_that_made_room_is_a_pause() -> None:
    driver = in_outage("b")
    driver.ensure("b")
    driver.exit("a")
    driver.ready("b")

    effects = driver.table.pause("a", now=driver.now, reason="operator")

    assert effects == [PersistPause("a", "operator")]
    assert driver.wait(100.0) == []
    assert driver.state("a") is State.PAUSED


def fails(driver: Driver, id: str) -> list[Effect]:
    return driver.progress(id, caught_up=False, rests_s=60.0)


def test_all_that_are_in_an_outage_take_turns_over_one_place() -> None:
    driver = Driver("a", "b", "c", config=ONE)
    driver.load("a")
    driver.ensure("b", "c")
    tried: list[str] = []
    running = "a"
    for _ in range(12):
        tried.append(running)
        stopped = fails(driver, running) or driver.wait(60.0) or fails(driver, running)
        assert stopped == [RequestStop(running, driver.table.status(running).epoch, 20.0)]
        (spawn,) = driver.exit(running)
        assert isinstance(spawn, Spawn)
        running = spawn.id
        driver.ready(running)

    assert all(set(tried[at : at + 5]) == {"a", "b", "c"} for at in range(8)), tried
