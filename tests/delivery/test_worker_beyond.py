from __future__ import annotations

from collections.abc import Callable

import pytest

from sluicegate.config.declaration import Limits
from sluicegate.delivery import loop
from sluicegate.destinations.base import Batch
from sluicegate.errors import Rejected, Retry
from tests.delivery.world import NO, World
from tests.doubles.vendor import Vendor

LIMITS = Limits(max_events=10, in_flight=4)
OTHERS = [f"e{number}" for number in range(60)]


def failing_for(sick: set[str], bad: frozenset[str] = frozenset()) -> Vendor:
    """A vendor that fails for every call with one of these in it, and refuses others for good."""

    def answer(batch: Batch) -> None:
        if not sick.isdisjoint(batch.message_ids):
            raise Retry("500")
        refused = {index: "400" for index, id_ in enumerate(batch.message_ids) if id_ in bad}
        if refused:
            raise Rejected(refused)

    return Vendor(answer, LIMITS)


def stuck(world: World, vendor: Vendor, *, settled_to: int = len(OTHERS) + 1) -> None:
    """Until the first event has failed, and what came after it has gone past it and is committed."""
    world.append("sick")
    world.start(vendor)
    vendor.wait_for(lambda: ["sick"] in vendor.calls)
    world.append(*OTHERS)
    world.wait(lambda: world.state().settled_to == settled_to)


def crash(world: World) -> None:
    """End the worker without its last commit, as a kill would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.DeliveryLoop, "_finish", lambda self: self._calls.close())
        world.stop()


@pytest.mark.parametrize("end", [World.stop, crash], ids=["stopped", "killed"])
def test_what_went_past_a_failing_event_does_not_go_again_after_a_restart(
    world: World, end: Callable[[World], None]
) -> None:
    sick = {"sick"}
    first, second = failing_for(sick), failing_for(sick)
    stuck(world, first)
    before = world.state()
    end(world)

    world.start(second)
    second.wait_for(lambda: ["sick"] in second.calls)
    world.append("later")
    second.wait_for(lambda: "later" in second.events)
    sick.clear()
    world.wait_caught_up()

    state = world.state()
    assert sorted(first.events) == sorted(OTHERS)
    assert sorted(second.events) == ["later", "sick"]
    assert (before.cursor, before.delivered) == (0, 0)
    assert (state.cursor, state.delivered, state.settled_to) == (len(OTHERS) + 2, len(OTHERS) + 2, 0)


def test_event_that_died_beyond_the_cursor_is_not_tried_again_and_becomes_its_letter(world: World) -> None:
    sick, bad = {"sick"}, frozenset({"e7"})
    first, second = failing_for(sick, bad), failing_for(sick, bad)
    stuck(world, first)
    world.stop()

    world.start(second)
    second.wait_for(lambda: ["sick"] in second.calls)
    sick.clear()
    world.wait_caught_up()

    store = world.store()
    (letter,) = store.letters.list()
    store.close()
    assert (letter.message_id, letter.event, letter.reason, letter.epoch) == ("e7", b'{"id":"e7"}', "400", 1)
    assert not any("e7" in call for call in second.calls)
    assert (world.state().delivered, world.state().dead) == (len(OTHERS), 1)


def test_denied_events_between_are_counted_once(world: World) -> None:
    sick = {"sick"}
    first, second = failing_for(sick), failing_for(sick)
    world.append("sick")
    world.start(first)
    first.wait_for(lambda: ["sick"] in first.calls)
    for number in range(20):
        world.append(f"n{number}", combo=NO)
        world.append(f"y{number}")
    world.wait(lambda: world.state().settled_to == 41)
    world.stop()

    world.start(second)
    second.wait_for(lambda: ["sick"] in second.calls)
    sick.clear()
    world.wait_caught_up()

    state = world.state()
    assert (sorted(second.events), state.delivered, state.denied) == (["sick"], 21, {"consent_denied": 20})
