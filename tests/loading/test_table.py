from __future__ import annotations

from dataclasses import replace

import pytest

from sluicegate.config.model import SupervisorConfig
from sluicegate.errors import Refused
from sluicegate.loading.effects import BatchDone, Drained, Effect, Kill, PersistPause, RequestStop, Spawn
from sluicegate.loading.status import State
from sluicegate.loading.table import LoadingTable
from sluicegate.messages.status import Stats

CONFIG = SupervisorConfig(max_loaded=3)


class Driver:
    """A table with a clock of its own and workers that do what the test says."""

    def __init__(self, *ids: str, config: SupervisorConfig = CONFIG, luck: float = 0.5) -> None:
        self.table = LoadingTable(config, random=lambda: luck)
        self.now = 1_000.0
        for id in ids:
            self.table.register(id)

    def state(self, id: str) -> State:
        return self.table.status(id).state

    def ensure(self, *ids: str) -> list[Effect]:
        return self.table.ensure(ids, now=self.now)

    def load(self, *ids: str) -> None:
        for id in ids:
            self.ensure(id)
            self.ready(id)

    def ready(self, id: str) -> list[Effect]:
        return self.table.loaded(id, self.table.status(id).epoch, now=self.now, pid=7)

    def fail(self, id: str, reason: str = "no") -> list[Effect]:
        epoch = self.table.status(id).epoch
        self.table.failed(id, epoch, now=self.now, reason=reason)
        return self.exit(id)

    def exit(self, id: str) -> list[Effect]:
        return self.table.exited(id, self.table.status(id).epoch, now=self.now)

    def progress(
        self, id: str, *, caught_up: bool = True, idle_s: float = 0.0, stalled_s: float = 0.0, delivered: int = 0
    ) -> list[Effect]:
        return self.table.progress(
            id,
            self.table.status(id).epoch,
            now=self.now,
            caught_up=caught_up,
            idle_s=idle_s,
            stalled_s=stalled_s,
            delivered=delivered,
        )

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with every tick that the table asks for."""
        end, found = self.now + seconds, []
        while (due := self.table.next_deadline(now=self.now)) is not None and due <= end:
            self.now = max(self.now, due)
            found += self.table.tick(now=self.now)
        self.now = end
        return found + self.table.tick(now=end)


# Starting


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


def test_process_that_does_not_report_in_time_is_killed_and_tried_again() -> None:
    driver = Driver("a")
    driver.ensure("a")

    killed = driver.wait(CONFIG.spawn_timeout_s)
    status = driver.table.status("a")

    assert killed == [Kill("a", 1)]
    assert (status.state, status.error) == (State.BACKING_OFF, "not ready within 30 s")
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


# Failing


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

    assert effects == [BatchDone("r", {"a": "failed: pip install it"})]


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


def test_reset_forgets_and_loads_what_was_wanted() -> None:
    driver = Driver("a", config=replace(CONFIG, max_retries=0))
    driver.ensure("a")
    driver.fail("a")

    effects = driver.table.reset("a", now=driver.now)
    status = driver.table.status("a")

    assert effects == [Spawn("a", 2)]
    assert (status.retry_count, status.error, status.next_attempt_at) == (0, None, None)


# The watchdog


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


# Falling idle


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


# Capacity


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


# Pausing


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


# Batches


def test_batch_loads_so_many_at_a_time_and_reports_each() -> None:
    driver = Driver("a", "b", "c")

    begun = driver.table.load_batch("r", ["a", "b", "c", "x"], now=driver.now, batch_size=2)
    next_one = driver.ready("a")
    failed = driver.fail("b", "no plugin")
    done = driver.ready("c")

    assert begun == [Spawn("a", 1), Spawn("b", 1)]
    assert next_one == [Spawn("c", 1)]
    assert failed == []
    assert done == [
        BatchDone("r", {"a": None, "b": "no plugin", "x": "no enabled destination is named 'x'", "c": None})
    ]


def test_batch_of_what_is_loaded_paused_or_failing_is_answered_at_once() -> None:
    driver = Driver("a", "b", "c")
    driver.load("a", "c")
    driver.table.pause("b", now=driver.now, reason="maintenance")
    driver.exit("c")

    effects = driver.table.load_batch("r", ["a", "b", "c"], now=driver.now)

    assert effects == [
        BatchDone(
            "r",
            {
                "a": None,
                "b": "paused: maintenance",
                "c": "backing_off: the process ended unexpectedly while running",
            },
        )
    ]


def test_batch_does_not_wait_for_capacity_for_ever() -> None:
    driver = Driver("a", "b", config=replace(CONFIG, max_loaded=1, stall_timeout_s=1_000.0))
    driver.load("a")
    driver.progress("a", caught_up=False)
    driver.table.load_batch("r", ["b"], now=driver.now)

    effects = driver.wait(60.0)

    assert effects == [BatchDone("r", {"b": "waiting for capacity"})]


def test_empty_batch_is_answered() -> None:
    driver = Driver("a")

    assert driver.table.load_batch("r", [], now=driver.now) == [BatchDone("r", {})]


def test_batch_ends_when_its_destination_is_paused_or_unloaded() -> None:
    driver = Driver("a", "b")
    driver.table.load_batch("r", ["a", "b"], now=driver.now)

    driver.table.pause("a", now=driver.now, reason="maintenance")
    effects = driver.table.unload("b", now=driver.now)

    assert BatchDone("r", {"a": "paused: maintenance", "b": "unloaded before it was loaded"}) in effects


# All at once


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
