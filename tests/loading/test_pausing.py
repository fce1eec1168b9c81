from __future__ import annotations

import pytest

from sluicegate.errors import Refused
from sluicegate.loading.effects import PersistPause, RequestStop, Spawn
from sluicegate.loading.status import State
from tests.loading.driver import Driver


def test_pause_drains_and_is_remembered_until_it_is_resumed() -> None:
    driver = Driver("a")
    driver.load("a")

    paused = driver.table.pause("a", now=driver.now, reason="maintenance")
    driver.exit("a")
    asked = driver.ensure("a")
    status = driver.table.status("a")
    resumed = driver.table.resume("a", now=driver.now)

    assert paused == [PersistPause("a", "maintenance"), RequestStop("a", 1, 20.0)]
    assert (asked, status.state, status.reason) == ([], State.PAUSED, "maintenance")
    assert resumed == [PersistPause("a", None), Spawn("a", 2)]


def test_pause_survives_a_restart_of_the_supervisor() -> None:
    driver = Driver()
    driver.table.register("a", paused="credentials refused")

    assert driver.ensure("a") == []
    assert driver.table.status("a").reason == "credentials refused"


def test_refused_credentials_pause_with_the_reason() -> None:
    driver = Driver("a")
    driver.load("a")

    effects = driver.table.halted("a", 1, now=driver.now, reason="401")
    driver.exit("a")

    assert effects == [PersistPause("a", "401")]
    assert (driver.state("a"), driver.table.status("a").retry_count) == (State.PAUSED, 0)
    assert driver.wait(1_000.0) == []


def test_refusal_that_comes_after_the_exit_still_pauses_and_only_once() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.exit("a")

    first = driver.table.halted("a", 1, now=driver.now, reason="401")
    driver.table.resume("a", now=driver.now)
    second = driver.table.halted("a", 1, now=driver.now, reason="401")

    assert first == [PersistPause("a", "401")]
    assert second == []
    assert driver.state("a") is State.LOADING


def test_retry_of_a_paused_destination_is_refused() -> None:
    driver = Driver("a")
    driver.table.pause("a", now=driver.now, reason="maintenance")

    with pytest.raises(Refused, match="maintenance"):
        driver.table.retry("a", now=driver.now)
