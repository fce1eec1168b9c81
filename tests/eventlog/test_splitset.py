from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.eventlog.splitset import SplitSet

HASHES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["add", "add all new", "remove"]), HASHES), max_size=20))
def test_split_set_agrees_with_a_set(steps: list[tuple[str, list[int]]]) -> None:
    split, plain = SplitSet(), set[int]()
    for action, hashes in steps:
        if action == "add":
            split.add(hashes)
            plain.update(hashes)
        elif action == "remove":
            split.remove(hashes)
            plain.difference_update(hashes)
        else:
            is_new = plain.isdisjoint(hashes) and len(set(hashes)) == len(hashes)
            assert split.add_all_new(hashes) == is_new
            plain |= set(hashes) if is_new else set()

        assert len(split) == len(plain)
        assert all((one in split) == (one in plain) for one in hashes)
