from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.event import MAX_COMBOS, Combo, EventBatch
from sluicegate.eventlog.packing import MAX_ROW_BYTES, MAX_ROW_EVENTS, firsts, pack
from sluicegate.testing.batches import add_event, batch_of

COMBOS = [Combo("track", f"source-{index}") for index in range(600)]


def numbered(n_events: int, *, n_combos: int = 1, size: int = 10, start: int = 0) -> EventBatch:
    batch = EventBatch()
    for index in range(start, start + n_events):
        event = b"%d" % index
        add_event(batch, event.ljust(size), message_id=str(index), combo=COMBOS[index % n_combos])
    return batch


def fits(row: EventBatch) -> bool:
    return len(row) == 1 or (
        len(row) <= MAX_ROW_EVENTS and row.n_bytes <= MAX_ROW_BYTES and len(set(row.combos)) <= MAX_COMBOS
    )


# As (events, combinations, bytes of an event), so that Hypothesis need not print events.
Shape = tuple[int, int, int]
SHAPES = st.tuples(
    st.sampled_from([0, 1, 2, 99, 300, 2_500, 2_600]),
    st.sampled_from([1, 2, 256, 257, 600]),
    st.sampled_from([10, 1_000]),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(SHAPES, max_size=4))
def test_rows_keep_every_event_in_order_and_within_the_limits(shapes: list[Shape]) -> None:
    batches = [numbered(n_events, n_combos=n_combos, size=size) for n_events, n_combos, size in shapes]
    expected = EventBatch()
    for batch in batches:
        expected.extend(batch)

    rows = pack(batches)

    packed = EventBatch()
    for row in rows:
        packed.extend(row)
    assert packed == expected
    assert all(row and fits(row) for row in rows)


def test_small_batches_share_a_row() -> None:
    assert len(pack([numbered(100), numbered(100), numbered(1)])) == 1


def test_only_batch_is_used_as_it_is() -> None:
    batch = numbered(3)

    assert pack([batch])[0] is batch


def test_event_larger_than_a_row_has_one_of_its_own() -> None:
    large = batch_of([b"x" * (MAX_ROW_BYTES + 1)])

    assert [len(row) for row in pack([numbered(2), large, numbered(3)])] == [2, 1, 3]


def test_equal_combinations_that_are_different_objects_count_once() -> None:
    batch = EventBatch()
    for index in range(1_000):
        add_event(batch, b"{}", message_id=str(index), combo=Combo("track", "".join(["we", "b"])))

    assert len(pack([batch])) == 1


def test_firsts_count_from_the_start() -> None:
    assert firsts([numbered(2), numbered(0), numbered(3)], 7) == [7, 9, 9]
