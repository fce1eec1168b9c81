from __future__ import annotations

from dataclasses import replace

from sluicegate.loading.effects import RequestStop, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import CONFIG, Driver


def test_needed_destination_takes_the_place_of_the_least_recently_used_idle_one() -> None:
    driver = Driver("a", "b", "c", "d")
    driver.load("a", "b", "c")
    driver.wait(1.0)
    driver.progress("a", idle_s=5.0)
    driver.progress("b", idle_s=50.0)
    driver.progress("c", caught_up=False, idle_s=100.0)

    effects = driver.ensure("d")

    assert effects == [RequestStop("b", 1, 20.0)]
    assert (driver.state("d"), driver.table.status("d").reason) == (State.REGISTERED, "waiting for capacity")
    assert driver.exit("b") == [Spawn("d", 1)]
    assert driver.table.status("d").reason is None


def test_destination_with_pending_work_never_has_to_make_room() -> None:
    driver = Driver("a", "b", config=replace(CONFIG, max_loaded=1))
    driver.load("a")
    driver.progress("a", caught_up=False)

    assert driver.ensure("b") == []
    assert driver.progress("a", caught_up=True) == [RequestStop("a", 1, 20.0)]


def test_those_who_wait_get_their_turn_in_order() -> None:
    driver = Driver("a", "b", "c", "d", config=replace(CONFIG, max_loaded=1))
    driver.load("a")
    turns = []

    driver.ensure("c")
    driver.ensure("b", "d")
    for id in ("a", "c", "b", "d"):
        driver.wait(1.0)
        driver.ready(id)
        driver.progress(id)
        driver.ensure(id)  # it is wanted again at once, and has to queue up
        turns += [effect.id for effect in driver.exit(id) if isinstance(effect, Spawn)]

    assert turns == ["c", "b", "d", "a"]


def test_many_at_once_are_started_a_few_at_a_time_and_nobody_has_to_go() -> None:
    ids = [f"d{number}" for number in range(13)]
    driver = Driver("idle", *ids, config=replace(CONFIG, max_loaded=20))
    driver.load("idle")
    driver.progress("idle")
    driver.wait(1.0)

    starts = [len(driver.ensure(*ids)), *(len(driver.wait(0.03)) for _ in range(9))]

    assert starts == [3, 0, 3, 0, 3, 0, 3, 0, 1, 0]
    assert driver.state("idle") is State.LOADED


def test_no_more_are_stopped_than_are_waited_for() -> None:
    driver = Driver("a", "b", "c", "d")
    driver.load("a", "b", "c")
    for id in ("a", "b", "c"):
        driver.progress(id)

    assert len(driver.ensure("d")) == 1
    assert driver.ensure("d") == []
    assert driver.wait(3.0) == []
