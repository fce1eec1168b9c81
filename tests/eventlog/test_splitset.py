from __future__ import annotations

from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.eventlog.splitset import N_PARTS, Hashes, SplitSet, extend, from_bytes, to_bytes

HASHES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=50)
STEPS = st.lists(st.tuples(st.sampled_from(["add all new", "add later", "remove"]), HASHES), max_size=20)


def arrays(hashes: list[int]) -> list[array[int]]:
    parts = [array("Q") for _ in range(N_PARTS)]
    extend(parts, Hashes(hashes))
    return parts


@given(STEPS)
def test_split_set_agrees_with_numbers_of_times(steps: list[tuple[str, list[int]]]) -> None:
    split_set, times = SplitSet(), Counter[int]()
    for action, hashes in steps:
        if action == "add later":
            split_set.add_later(arrays(hashes))
            times.update(hashes)
        elif action == "remove":
            split_set.remove(Hashes(hashes))
            times.subtract(hashes)
            times = +times
        else:
            is_new = times.keys().isdisjoint(hashes) and len(set(hashes)) == len(hashes)
            assert split_set.add_all_new(Hashes(hashes)) == is_new
            times.update(hashes if is_new else [])

    every = {one for _, hashes in steps for one in hashes}
    known = {one for one in every if not split_set.add_new(one)}
    assert known == set(times)


@given(st.lists(HASHES, min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_what_was_added_for_later_can_be_removed_before_it_is_looked_at(
    blocks: list[list[int]], n_removed: int, is_looked_at: bool
) -> None:
    split_set, parts = SplitSet(), [arrays(hashes) for hashes in blocks]
    for one in parts:
        split_set.add_later(one)
    if is_looked_at:
        split_set.add_new(1)
        split_set.remove(Hashes([1]))
    for one in parts[:n_removed]:
        split_set.remove_parts(one)

    left = {one for hashes in blocks[n_removed:] for one in hashes} - {1}
    assert all(not split_set.add_new(one) for one in left)
    every = {one for hashes in blocks for one in hashes} - {1}
    assert {one for one in every if split_set.add_new(one)} == every - left


@given(HASHES)
def test_parts_are_the_same_after_a_way_through_bytes(hashes: list[int]) -> None:
    assert from_bytes(to_bytes(arrays(hashes))) == arrays(hashes)
    assert [list(part) for part in arrays(hashes)] == Hashes(hashes).parts


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 12, array("Q", range(100)).tobytes(), to_bytes(arrays([1, 2, 3]))[:-8]],
    ids=["empty", "no numbers", "without sizes", "cut off"],
)
def test_bytes_that_are_no_parts_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"add up|multiple"):
        from_bytes(data)
