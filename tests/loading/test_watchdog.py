from __future__ import annotations

from sluicegate.loading.effects import Kill, Spawn
from tests.loading.driver import CONFIG, Driver


def test_silent_destination_is_killed_and_replaced() -> None:
    driver = Driver("a")
    driver.load("a")

    effects = driver.wait(CONFIG.stall_timeout_s)

    assert effects == [Kill("a", 1)]
    assert driver.table.status("a").error == "no progress for 60 s"
    driver.exit("a")
    assert driver.wait(1.0) == [Spawn("a", 2)]


def test_destination_whose_call_hangs_is_killed_although_it_talks() -> None:
    driver = Driver("a")
    driver.load("a")

    assert driver.progress("a", caught_up=False, stalled_s=59.0) == []
    assert driver.progress("a", caught_up=False, stalled_s=60.0) == [Kill("a", 1)]


def test_call_is_not_taken_for_hung_because_everybody_was_stopped() -> None:
    driver = Driver("a")
    driver.load("a")
    driver.now += 600.0

    after_the_stop = driver.progress("a", caught_up=False, stalled_s=601.0)
    driver.now += 15.0
    driver.progress("a", caught_up=False, stalled_s=616.0)
    driver.now += 15.0
    driver.progress("a", caught_up=False, stalled_s=631.0)
    driver.now += 15.0
    driver.progress("a", caught_up=False, stalled_s=646.0)
    driver.now += 15.0
    a_minute_later = driver.progress("a", caught_up=False, stalled_s=661.0)

    assert after_the_stop == []
    assert a_minute_later == [Kill("a", 1)]


def test_time_in_which_the_supervisor_itself_was_stopped_is_nobodys_fault() -> None:
    driver = Driver("a", "b")
    driver.load("a", "b")

    driver.now += 1_000.0
    woken = driver.progress("a")
    later = driver.wait(CONFIG.stall_timeout_s - 1.0)

    assert woken == [] and later == []
    assert driver.wait(1.0) == [Kill("a", 1), Kill("b", 1)]
