from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.audit.column import MERGE_EVENTS, Column, Versions, add_version, set_version, version_at
from sluicegate.audit.gathering import Gathering

WORDS = {1: "delivered", 2: "dead", 5: "denied:consent_denied", 6: "denied:withdrawn", 200: "denied:other"}
codes = st.lists(st.tuples(st.sampled_from(sorted(WORDS)), st.integers(1, 3_000)), max_size=8)
streams = st.lists(st.binary(max_size=300).map(lambda b: bytes(sorted(WORDS)[x % len(WORDS)] for x in b)), max_size=6)


def told(column: Column) -> list[str]:
    return [word for word, n in column.runs() for _ in range(n)]


@given(
    st.lists(st.one_of(codes.map(lambda runs: b"".join(bytes((c,)) * n for c, n in runs)), st.just(b"")), max_size=5)
)
def test_column_tells_what_was_added_in_order(parts: list[bytes]) -> None:
    column = Column()

    for part in parts:
        column.add_codes(part, WORDS)

    expected = [WORDS[code] for part in parts for code in part]
    assert told(column) == expected
    assert len(column) == len(expected)
    assert column.counts() == Counter(expected)


@given(streams)
def test_column_of_columns_tells_the_same_whatever_the_order_of_their_words(parts: list[bytes]) -> None:
    whole = Column()

    for part in parts:
        one = Column()
        one.add_codes(part, dict(reversed(WORDS.items())))
        whole.extend(one)

    expected = [WORDS[code] for part in parts for code in part]
    assert told(whole) == expected
    assert [whole.word_at(place) for place in range(len(expected))] == expected


def test_place_after_the_end_has_no_word() -> None:
    column = Column()
    column.add_run("delivered", 3)

    with pytest.raises(IndexError):
        column.word_at(3)


@pytest.mark.parametrize(("n", "at_most"), [(1, 16), (100_000, 16), (100_000_000, 16)])
def test_events_that_end_alike_take_one_piece(n: int, at_most: int) -> None:
    column = Column()
    for _ in range(4):
        column.add_run("delivered", n)

    assert column.pieces == [(4 * n, 0)]


def test_every_second_event_denied_takes_next_to_nothing() -> None:
    column = Column()
    for _ in range(50):
        column.add_codes(bytes((1, 5)) * 1_000, WORDS)

    n_bytes = sum(len(data) for _, data in column.pieces if isinstance(data, bytes))
    assert len(column) == 100_000
    assert n_bytes < 1_000


def test_single_events_share_pieces() -> None:
    column = Column()
    for number in range(3 * MERGE_EVENTS):
        column.add_run(("delivered", "dead")[number % 2], 1)

    assert len(column.pieces) == 3


@pytest.mark.parametrize("piece", [(5, 7), (5, b"\xff\xff"), (3, b"\x00\x00\x09"), (1 << 40, b"x")])
def test_piece_that_makes_no_sense_is_told(piece: tuple[int, int | bytes]) -> None:
    with pytest.raises(ValueError, match=r"has|cannot|too long"):
        Column(["delivered"], [piece]).counts()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=20))
def test_version_of_each_place_is_the_one_that_was_added(runs: list[tuple[int, int]]) -> None:
    versions: Versions = []

    for n, version in runs:
        add_version(versions, n, version)

    expected = [version for n, version in runs for _ in range(n)]
    assert [version_at(versions, place) for place in range(len(expected))] == expected
    assert all(a != b for (_, a), (_, b) in pairwise(versions))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(WORDS.values())), st.integers(0, 2_000)), max_size=12), st.integers(0, 50)
)
def test_gathering_tells_what_came_and_keeps_what_is_not_written_yet(runs: list[tuple[str, int]], kept: int) -> None:
    gathering = Gathering()
    expected: list[str] = []
    for number, (word, n) in enumerate(runs):
        if number % 3 == 0:
            gathering.add_run(word, n, number)
        elif number % 3 == 1:
            gathering.add_each([word, "dead"], number)
        else:
            gathering.add_coded(bytes((1, 0)), ["dead", word], number)
        expected += [word] * n if number % 3 == 0 else ([word, "dead"])
    before = gathering.told()
    kept = min(kept, len(expected))

    gathering.keep_last(kept)

    assert told(before.column) == expected
    assert sum(n for n, _ in before.versions) == len(expected)
    assert told(gathering.told().column) == expected[len(expected) - kept :]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=6), st.data())
def test_one_event_can_be_told_by_another_version(runs: list[tuple[int, int]], data: st.DataObject) -> None:
    versions: Versions = []
    for n, version in runs:
        add_version(versions, n, version)
    each = [version for n, version in runs for _ in range(n)]
    place, other = data.draw(st.integers(0, len(each) - 1)), data.draw(st.integers(0, 4))

    set_version(versions, place, other)

    expected = [*each[:place], other, *each[place + 1 :]]
    assert [version_at(versions, at) for at in range(len(each))] == expected
    assert sum(n for n, _ in versions) == len(each)
    assert all(before[1] != after[1] for before, after in pairwise(versions))
