from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.delivery.sweep import Sweep
from sluicegate.event import Combo, Meta, bounds_of
from sluicegate.eventlog.base import Row

MARKETING = Combo("track", "web", (("marketing", True),))
DENIED = Combo("track", "web", (("marketing", False),))
NOTHING = Combo("track", "web")


def decide(name: str, combo: Combo) -> str | None:
    if name == "archive":
        return None
    return None if dict(combo.stamp).get("marketing") else f"no:{len(combo.stamp)}"


def row(first: int, *combos: Combo) -> Row:
    distinct = list(dict.fromkeys(combos))
    n = len(combos)
    meta = Meta(tuple(distinct), bytes(map(distinct.index, combos)), bounds_of([b""] * n), [])
    return Row(first, n, 0, meta, 0)


def test_destination_with_a_permitted_event_is_wanted_from_there_on() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=3, cursor=10)

    sweep.look(row(11, DENIED, NOTHING, MARKETING, DENIED))

    assert sweep.wanted() == ("ads",)
    (skip,) = sweep.skips(at_most=9)
    assert (skip.epoch, skip.cursor, skip.to, skip.denied) == (3, 10, 12, {"no:1": 1, "no:0": 1})


def test_destination_without_permitted_events_is_never_wanted() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=0)

    sweep.look(row(1, *[DENIED] * 200))
    sweep.look(row(201, *[NOTHING] * 5))

    assert sweep.wanted() == ()
    assert sweep.position() == 205


def test_row_that_began_before_the_cursor_is_counted_from_the_cursor() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=2)

    sweep.look(row(1, MARKETING, MARKETING, DENIED, NOTHING))

    (skip,) = sweep.skips(at_most=1)
    assert (skip.cursor, skip.to, skip.denied) == (2, 4, {"no:1": 1, "no:0": 1})
    assert sweep.wanted() == ()


def test_trimmed_events_count_as_expired() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=5)

    sweep.look(row(9, DENIED))

    (skip,) = sweep.skips(at_most=1)
    assert (skip.to, skip.expired, skip.denied) == (9, 3, {"no:1": 1})


def test_those_in_front_are_looked_at_without_the_one_that_is_far_behind() -> None:
    sweep = Sweep(decide)
    sweep.watch("behind", epoch=0, cursor=2)
    sweep.watch("ads", epoch=0, cursor=95)
    sweep.watch("crm", epoch=0, cursor=100)
    front = sweep.front(10)
    assert (sweep.position(), front, sweep.front(98)) == (2, 95, 2)
    assert front is not None

    sweep.look(row(91, *[DENIED] * 10, MARKETING), after=front)

    assert sweep.wanted() == ("ads", "crm")
    assert sweep.position() == 2
    assert {skip.id: (skip.to, skip.expired) for skip in sweep.skips(at_most=9)} == {"ads": (100, 0)}
    assert Sweep(decide).front(10) is None


def test_running_destination_is_not_minded() -> None:
    sweep = Sweep(decide)
    sweep.watch("archive", epoch=0, cursor=0)

    sweep.forget("archive")
    sweep.look(row(1, NOTHING))

    assert sweep.wanted() == ()
    assert sweep.position() is None


def test_skip_that_the_store_has_taken_is_not_due_again() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=0)
    sweep.look(row(1, DENIED, NOTHING))

    (skip,) = sweep.skips(at_most=1)
    sweep.look(row(3, DENIED))
    sweep.skipped(skip)

    (rest,) = sweep.skips(at_most=1)
    assert (rest.cursor, rest.to, rest.denied) == (2, 3, {"no:1": 1})


@given(
    rows=st.lists(st.lists(st.sampled_from([MARKETING, DENIED, NOTHING]), min_size=1, max_size=6), max_size=8),
    cursor=st.integers(0, 20),
    take=st.lists(st.booleans(), max_size=8),
)
def test_every_event_before_the_first_wanted_one_is_counted_once(
    rows: list[list[Combo]], cursor: int, take: list[bool]
) -> None:
    events = [combo for one in rows for combo in one]
    cursor = min(cursor, len(events))
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=cursor)
    counted: Counter[str] = Counter()
    at = cursor
    first = 1

    for index, combos in enumerate(rows):
        sweep.look(row(first, *combos))
        first += len(combos)
        if index < len(take) and take[index]:
            for skip in sweep.skips(at_most=1):
                counted.update(skip.denied)
                at = skip.to
                sweep.skipped(skip)
    for skip in sweep.skips(at_most=1):
        counted.update(skip.denied)
        at = skip.to

    wanted = next((i for i in range(cursor, len(events)) if events[i] is MARKETING), None)
    assert at == (len(events) if wanted is None else wanted)
    assert counted == Counter(decide("ads", combo) for combo in events[cursor:at])
    assert bool(sweep.wanted()) == (wanted is not None)


def test_expired_events_are_counted_also_for_a_destination_that_waits_to_be_loaded() -> None:
    sweep = Sweep(decide)
    sweep.watch("ads", epoch=0, cursor=0)
    sweep.watch("crm", epoch=0, cursor=0, wanted=True)
    sweep.look(row(1, DENIED, MARKETING, MARKETING))

    sweep.expire(4)

    assert sweep.wanted() == ("crm",)
    assert {skip.id: (skip.to, skip.denied, skip.expired) for skip in sweep.skips(at_most=9)} == {
        "ads": (3, {"no:1": 1}, 2),
        "crm": (3, {}, 3),
    }
    sweep.look(row(4, MARKETING))
    assert sweep.wanted() == ("ads", "crm")
