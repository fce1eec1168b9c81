"""Until when a destination in an outage has nothing to do, so that another may have its place."""

from __future__ import annotations

import math

import pytest

from sluicegate.delivery.lane import Origin
from sluicegate.eventlog.runs import Events
from tests.delivery.test_lanes_pace import filled, open_breaker


def test_destination_in_an_outage_rests_until_its_next_attempt() -> None:
    lanes = filled(1_000)
    before = lanes.rests_until

    until = open_breaker(lanes)

    assert before == -math.inf
    assert lanes.rests_until == until


@pytest.mark.parametrize("origin", [Origin.HELD, Origin.LETTERS])
def test_destination_does_not_rest_while_it_has_events_whose_failures_are_not_kept(origin: Origin) -> None:
    lanes = filled(1_000)
    open_breaker(lanes)

    held = Events.of([2_001], ["m2001"], ["s1"], [b"{}"])
    if origin is Origin.HELD:
        lanes.release(held, origin)
    else:
        lanes.add_replays(held)

    assert lanes.rests_until == -math.inf
