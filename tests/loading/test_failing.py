from __future__ import annotations

from dataclasses import replace

import pytest

from sluicegate.loading.effects import BatchDone, Kill, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import CONFIG, Driver


def test_failure_shows_at_once_and_is_tried_again_after_the_backoff() -> None:
    driver = Driver("a", luck=0.5)
    driver.ensure("a")

    driver.fail("a", "vendor is down")
    status = driver.table.status("a")

    assert (status.state, status.error, status.retry_count) == (State.BACKING_OFF, "vendor is down", 1)
    assert status.next_attempt_at == driver.now + 0.5
    assert driver.wait(0.4) == []
    assert driver.wait(0.2) == [Spawn("a", 2)]


def test_backoff_doubles_and_ends_in_quarantine_with_one_attempt_per_cool_down() -> None:
    driver = Driver("a", luck=0.5)
    driver.ensure("a")
    waits = []

    for _ in range(6):
        driver.fail("a")
        waits.append((driver.table.status("a").next_attempt_at or 0.0) - driver.now)
        driver.wait(waits[-1])

    assert waits == [0.5, 1.0, 2.0, 300.0, 300.0, 300.0]
    assert driver.table.status("a").epoch == 7


def test_wish_does_not_shorten_a_backoff() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.fail("a")

    assert driver.ensure("a") == []


def test_crashed_destination_is_loaded_again_without_being_asked_for() -> None:
    driver = Driver("a")
    driver.load("a")

    driver.exit("a")

    assert driver.table.status("a").error == "the process ended unexpectedly while running"
    assert driver.wait(1.0) == [Spawn("a", 2)]


def test_exit_that_is_reported_twice_counts_once() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.exited("a", 1, now=driver.now)
    driver.wait(1.0)

    driver.table.exited("a", 1, now=driver.now)

    assert (driver.state("a"), driver.table.status("a").retry_count) == (State.LOADING, 1)


def test_reason_that_comes_after_the_exit_still_shows() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.exit("a")

    driver.table.failed("a", 1, now=driver.now, reason="ModuleNotFoundError")

    assert (driver.table.status("a").error, driver.table.status("a").retry_count) == ("ModuleNotFoundError", 1)


def test_permanent_failure_is_not_tried_again_before_somebody_asks() -> None:
    driver = Driver("a")
    driver.ensure("a")

    driver.table.failed("a", 1, now=driver.now, reason="pip install it", permanent=True)
    driver.exit("a")
    asked_for = [driver.wait(10_000.0), driver.ensure("a")]
    status = driver.table.status("a")

    assert asked_for == [[], []]
    assert (status.state, status.error, status.next_attempt_at) == (State.FAILED, "pip install it", None)
    assert status.reason == "not tried again before `sluicegate retry a`"
    assert driver.table.next_deadline(now=driver.now) is None


@pytest.mark.parametrize("command", ["retry", "reset", "resume"])
def test_permanent_failure_is_tried_again_by_command(command: str) -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.table.failed("a", 1, now=driver.now, reason="pip install it", permanent=True)
    driver.exit("a")
    if command == "resume":
        driver.table.pause("a", now=driver.now, reason="by hand")

    effects = getattr(driver.table, command)("a", now=driver.now)

    assert Spawn("a", 2) in effects
    assert (driver.state("a"), driver.table.status("a").reason) == (State.LOADING, None)


def test_permanent_failure_that_comes_after_the_exit_ends_the_attempts() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.exit("a")

    driver.table.failed("a", 1, now=driver.now, reason="pip install it", permanent=True)

    assert driver.wait(10_000.0) == []
    assert (driver.state("a"), driver.table.status("a").retry_count) == (State.FAILED, 1)


def test_batch_with_a_permanent_failure_ends_with_its_error() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.table.failed("a", 1, now=driver.now, reason="pip install it", permanent=True)
    driver.exit("a")

    effects = driver.table.load_batch("r", ["a"], now=driver.now)

    assert effects == [BatchDone("r", {"a": "failed: pip install it; try it now with `sluicegate retry a`"})]


def test_new_process_is_not_started_before_the_failed_one_is_gone() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.table.failed("a", 1, now=driver.now, reason="no")

    effects = driver.wait(20.0)

    assert effects and all(effect == Kill("a", 1) for effect in effects)
    assert driver.exit("a") == [Spawn("a", 2)]


def test_five_crashes_within_a_minute_are_too_many_however_much_was_delivered() -> None:
    driver = Driver("a")
    driver.load("a")

    for _ in range(4):
        driver.progress("a", delivered=100)
        driver.exit("a")
        assert driver.state("a") is State.BACKING_OFF
        driver.wait(1.0)
        driver.ready("a")
    driver.progress("a", delivered=100)
    driver.exit("a")

    assert driver.state("a") is State.QUARANTINED


@pytest.mark.parametrize("healthy", ["a minute", "a hundred events"])
def test_failures_are_forgotten_once_it_is_healthy(healthy: str) -> None:
    driver = Driver("a", config=replace(CONFIG, stall_timeout_s=100.0))
    driver.ensure("a")
    driver.fail("a")
    driver.wait(1.0)
    driver.ready("a")
    before = driver.table.status("a").retry_count

    if healthy == "a minute":
        driver.wait(61.0)
    else:
        driver.progress("a", caught_up=False, delivered=100)

    assert (before, driver.table.status("a").retry_count) == (1, 0)


def test_fork_that_fails_is_a_failure_with_backoff() -> None:
    driver = Driver("a")
    driver.ensure("a")

    driver.table.spawn_failed("a", 1, now=driver.now, reason="no process")

    assert (driver.state("a"), driver.table.status("a").error) == (State.BACKING_OFF, "no process")
    assert driver.wait(1.0) == [Spawn("a", 2)]


def test_retry_tries_at_once_and_keeps_the_count() -> None:
    driver = Driver("a", config=replace(CONFIG, max_retries=0))
    driver.ensure("a")
    driver.fail("a")

    effects = driver.table.retry("a", now=driver.now)

    assert effects == [Spawn("a", 2)]
    assert driver.table.status("a").retry_count == 1


def test_retry_that_waits_for_a_place_is_ended_by_unload() -> None:
    driver = Driver("a", "b", config=replace(CONFIG, max_loaded=1))
    driver.ensure("a")
    driver.fail("a")
    driver.load("b")
    driver.progress("b", caught_up=False)
    driver.table.retry("a", now=driver.now)

    driver.table.unload("a", now=driver.now)

    assert driver.state("a") is State.REGISTERED
    assert driver.table.stats().failed == 0


def test_reset_forgets_and_loads_what_was_wanted() -> None:
    driver = Driver("a", config=replace(CONFIG, max_retries=0))
    driver.ensure("a")
    driver.fail("a")

    effects = driver.table.reset("a", now=driver.now)
    status = driver.table.status("a")

    assert effects == [Spawn("a", 2)]
    assert (status.retry_count, status.error, status.next_attempt_at) == (0, None, None)
