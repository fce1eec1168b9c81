from __future__ import annotations

import pytest

from sluicegate.loading.pauses import OPERATOR
from sluicegate.loading.pointless import Command
from tests.loading.driver import Driver


@pytest.mark.parametrize("command", list(Command))
def test_commands_for_one_that_is_loaded_and_healthy(command: Command) -> None:
    driver = Driver("a")
    driver.load("a")

    why = driver.table.pointless(command, "a")

    expected = {
        Command.UNLOAD: "",
        Command.RETRY: "a is loaded: there is nothing to try again",
        Command.RESET: "a has no failures to forget",
        Command.PAUSE: "",
        Command.RESUME: "a is not paused",
    }
    assert why == expected[command]


def test_second_unload_and_second_pause_are_pointless() -> None:
    driver = Driver("a", "b")
    driver.load("a", "b")
    driver.table.unload("a", now=driver.now)
    driver.table.pause("b", now=driver.now, reason=OPERATOR)

    assert driver.table.pointless(Command.UNLOAD, "a") == "a is not loaded"
    assert driver.table.pointless(Command.PAUSE, "b") == "b is paused already"
    assert driver.table.pointless(Command.RESUME, "b") == ""


def test_commands_for_one_that_fails_have_a_point() -> None:
    driver = Driver("a")
    driver.ensure("a")
    driver.fail("a")

    assert [driver.table.pointless(command, "a") for command in (Command.RETRY, Command.RESET, Command.UNLOAD)] == [
        ""
    ] * 3


def test_pause_of_one_that_its_vendor_has_refused_has_a_point() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.table.halted("a", 1, now=driver.now, reason="401")

    assert driver.table.pointless(Command.PAUSE, "a") == ""
