from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.model import MIB, SupervisorConfig
from sluicegate.loading.bursts import BURST_S
from sluicegate.loading.effects import NoteEvicted, RequestStop, Spawn
from sluicegate.loading.shedding import MIN_LOADED_S, PROCESS_BYTES
from sluicegate.loading.status import State
from sluicegate.pressure import MemoryUse
from tests.loading.driver import Driver

LIMIT = 10_000 * MIB
ROOMY = SupervisorConfig(max_loaded=20, idle_ttl_s=0.0, stall_timeout_s=86_400.0)
EVICTED = "evicted: memory"


def used(percent: float, *, more: int = 0) -> MemoryUse:
    return MemoryUse(int(LIMIT * percent / 100) + more, LIMIT)


def loaded(*ids: str, config: SupervisorConfig = ROOMY) -> Driver:
    """A table with these destinations, all idle, the first for longest, and old enough to go."""
    driver = Driver(*ids, config=config)
    for id in ids:
        driver.load(id)
        driver.wait(1.0)
    driver.wait(MIN_LOADED_S)
    for age, id in enumerate(reversed(ids)):
        driver.progress(id, idle_s=1.0 + age)
    return driver


def shed(driver: Driver, memory: MemoryUse) -> list[str]:
    return [effect.id for effect in driver.table.shed(memory, now=driver.now) if isinstance(effect, RequestStop)]


def test_least_recently_used_idle_ones_end_when_memory_runs_short() -> None:
    driver = loaded("a", "b", "c")

    effects = driver.table.shed(used(80), now=driver.now)

    assert effects == [*(RequestStop(id, 1, 20.0) for id in "abc"), NoteEvicted(("a", "b", "c"), used(80))]
    assert driver.table.status("a").reason == EVICTED
    assert driver.table.stats().evicted_for_memory == 3


def test_no_more_end_than_the_memory_is_short_of() -> None:
    driver = loaded("a", "b", "c", "d", "e", config=replace(ROOMY, memory_shed_percent=76))

    assert shed(driver, used(76)) == ["a", "b", "c", "d"]  # 100 MiB


def test_it_begins_at_the_upper_part_and_goes_on_down_to_the_lower_one() -> None:
    driver = loaded(*"abcdefghijklmnopqrs")
    ended = []

    for memory in (used(79.9), used(80), used(75, more=1), used(75), used(79.9)):
        ended.append("".join(shed(driver, memory)))
        for id in ended[-1]:
            driver.exit(id)

    assert ended == ["", "abcdefghijklmnop", "q", "", ""]


def test_those_that_are_ending_count_as_gone() -> None:
    driver = loaded(*"abcdefghijklmnopq")
    first = shed(driver, used(80))

    again = shed(driver, used(80))

    assert (len(first), again) == (16, [])


def test_one_with_something_to_deliver_never_ends() -> None:
    driver = loaded("a", "b")
    driver.progress("a", caught_up=False, idle_s=100.0)

    assert shed(driver, used(99)) == ["b"]


def test_one_that_has_just_been_started_is_left_alone() -> None:
    driver = Driver("a", config=ROOMY)
    driver.load("a")
    driver.progress("a")
    driver.wait(MIN_LOADED_S - 0.1)
    assert shed(driver, used(99)) == []

    driver.wait(0.2)

    assert shed(driver, used(99)) == ["a"]


def test_one_that_ended_rests_and_starts_again_for_whoever_needs_it() -> None:
    driver = loaded("a")
    shed(driver, used(90))
    assert driver.exit("a") == []
    assert (driver.state("a"), driver.table.status("a").reason) == (State.REGISTERED, EVICTED)

    effects = driver.ensure("a")

    assert effects == [Spawn("a", 2)]
    assert driver.table.status("a").reason is None


def test_one_that_is_needed_while_it_ends_starts_again_at_once() -> None:
    driver = loaded("a")
    shed(driver, used(90))
    driver.ensure("a")

    assert driver.exit("a") == [Spawn("a", 2)]


def test_it_can_be_turned_off() -> None:
    driver = loaded("a", config=replace(ROOMY, memory_shed_percent=0))

    assert shed(driver, used(99.9)) == []


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(2 * BURST_S, 30)), min_size=1, max_size=12),
    st.lists(st.integers(0, 100), min_size=1, max_size=8),
)
def test_whatever_happens_only_old_idle_ones_end_and_none_below_the_lower_part(
    destinations: list[tuple[bool, float, float]], percents: list[int]
) -> None:
    ids = [f"d{number}" for number in range(len(destinations))]
    driver = Driver(*ids, config=ROOMY)
    born = {}
    for id, (_, _, pause_s) in zip(ids, destinations, strict=True):
        driver.load(id)
        born[id] = driver.now
        driver.wait(pause_s)
    last_used = {}
    for id, (caught_up, idle_s, _) in zip(ids, destinations, strict=True):
        driver.progress(id, caught_up=caught_up, idle_s=idle_s)
        last_used[id] = driver.now - idle_s
    busy = {id for id, (caught_up, _, _) in zip(ids, destinations, strict=True) if not caught_up}
    going_on, left = False, set(ids)

    for percent in percents:
        ended = shed(driver, used(percent))

        going_on = percent >= 80 or (going_on and percent > 75)
        assert going_on or not ended
        assert busy.isdisjoint(ended)
        assert all(driver.now - born[id] >= MIN_LOADED_S for id in ended)
        assert len(ended) <= 1 + max(0, used(percent).used_bytes - LIMIT * 75 // 100) // PROCESS_BYTES
        left -= set(ended)
        could = {id for id in left - busy if driver.now - born[id] >= MIN_LOADED_S}
        assert all(last_used[one] <= last_used[other] for one in ended for other in could)
        for id in ended:
            driver.exit(id)
        driver.now += 1.0
