from __future__ import annotations

from dataclasses import replace

from sluicegate.loading.effects import Kill, RequestStop, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import CONFIG, Driver


def test_idle_destination_is_stopped_and_rests() -> None:
    driver = Driver("a")
    driver.load("a")

    assert driver.progress("a", idle_s=299.0) == []
    assert driver.wait(1.0) == [RequestStop("a", 1, 20.0)]
    assert driver.state("a") is State.DRAINING
    assert driver.exit("a") == []
    assert driver.state("a") is State.REGISTERED


def test_destination_with_work_is_not_idle() -> None:
    driver = Driver("a")
    driver.load("a")

    assert driver.progress("a", caught_up=False, idle_s=1_000.0) == []


def test_ttl_of_zero_means_never() -> None:
    driver = Driver("a", config=replace(CONFIG, idle_ttl_s=0.0))
    driver.load("a")

    assert driver.progress("a", idle_s=1e9) == []


def test_wish_during_the_drain_starts_it_again_after_the_exit() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.progress("a", idle_s=300.0)

    assert driver.ensure("a") == []
    assert driver.exit("a") == [Spawn("a", 2)]


def test_process_that_does_not_stop_is_killed_until_it_is_gone() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.unload("a", now=driver.now)

    effects = driver.wait(22.0)

    assert effects == [Kill("a", 1), Kill("a", 1)]
    assert driver.exit("a") == []
    assert (driver.state("a"), driver.table.status("a").retry_count) == (State.REGISTERED, 0)


def test_process_that_is_stopping_is_told_when_it_gets_less_time() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.unload("a", now=driver.now)

    sooner = driver.table.drain_all("d", now=driver.now, deadline_s=5.0)
    later = driver.table.drain_all("e", now=driver.now, deadline_s=9.0)

    assert (sooner, later) == ([RequestStop("a", 1, 5.0)], [])
    assert driver.wait(5.0) == [Kill("a", 1)]
