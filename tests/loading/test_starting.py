from __future__ import annotations

import pytest

from sluicegate.errors import Refused
from sluicegate.loading.effects import Kill, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import CONFIG, Driver


def test_many_wishes_start_one_process() -> None:
    driver = Driver("a")

    effects = [*driver.ensure("a"), *driver.ensure("a", "a"), *driver.ensure("a")]

    assert effects == [Spawn("a", 1)]
    assert driver.state("a") is State.LOADING


def test_loaded_destination_is_left_alone_by_another_wish() -> None:
    driver = Driver("a")
    driver.load("a")

    assert driver.ensure("a") == []
    assert driver.table.status("a").pid == 7


def test_epochs_go_on_from_what_the_store_knows() -> None:
    driver = Driver()
    driver.table.register("a", epoch=41)

    assert driver.ensure("a") == [Spawn("a", 42)]


def test_epoch_that_somebody_else_claimed_is_passed_over() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.table.learn_epoch("a", 9)

    driver.fail("a", "StaleEpoch")

    assert driver.wait(1.0) == [Spawn("a", 10)]


def test_unknown_destinations_are_ignored_in_wishes_and_reports() -> None:
    driver = Driver("a")

    assert driver.ensure("x") == []
    assert driver.table.exited("x", 1, now=driver.now) == []
    assert driver.table.loaded("x", 1, now=driver.now, pid=1) == []


@pytest.mark.parametrize("command", ["unload", "resume", "retry", "reset"])
def test_command_about_an_unknown_destination_is_refused(command: str) -> None:
    driver = Driver("a")

    with pytest.raises(Refused, match="'x'"):
        getattr(driver.table, command)("x", now=driver.now)


def test_process_that_hangs_or_ends_while_loading_tells_at_what() -> None:
    driver = Driver("a", "b")
    driver.ensure("a", "b")
    driver.table.at("a", 1, "running test()")
    driver.table.at("b", 1, "importing the plugin")

    driver.table.exited("b", 1, now=driver.now, how="exit code 7")
    driver.wait(CONFIG.spawn_timeout_s)

    assert driver.table.status("a").error == "not ready within 30 s: still running test()"
    assert driver.table.status("b").error == ("the process ended unexpectedly while importing the plugin (exit code 7)")


def test_process_that_does_not_report_in_time_is_killed_and_tried_again() -> None:
    driver = Driver("a")
    driver.ensure("a")

    killed = driver.wait(CONFIG.spawn_timeout_s)
    status = driver.table.status("a")

    assert killed == [Kill("a", 1)]
    assert (status.state, status.error) == (State.BACKING_OFF, "not ready within 30 s: still loading")
    driver.exit("a")
    assert Spawn("a", 2) in driver.wait(2.0)


def test_progress_of_a_process_that_still_loads_does_not_make_it_loaded() -> None:
    driver = Driver("a")
    driver.ensure("a")

    driver.progress("a", caught_up=False)

    assert driver.state("a") is State.LOADING


def test_progress_through_the_log_stands_for_a_lost_loaded_message() -> None:
    driver = Driver("a")
    driver.ensure("a")

    driver.progress("a", caught_up=True)

    assert driver.state("a") is State.LOADED
