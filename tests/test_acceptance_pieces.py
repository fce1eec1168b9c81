from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.acceptance.pieces import DEEPEST_BESIDE, MAX_PIECES, depth_exceeds, separators

TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},:]', re.DOTALL)
SCRAPS = ['"batch"', ":", "[", "]", "{", "}", ",", '"', "\\", '"a"', "1", "NaN", " ", "[1]", '{"a":[]}', '{"batch":[']

values = st.recursive(
    st.sampled_from([None, 1, 1.5, "a", '"', "\\", "[", "}", ",", "batch"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "batch", "]"]), inner, max_size=3)
    ),
    max_leaves=30,
)


def one_by_one(body: bytes) -> list[int]:
    """What `separators` finds, said plainly."""
    places: list[int] = []
    depth, key, text = 0, b"", b""
    for token in TOKEN.finditer(body):
        character = token[0]
        if character in (b"{", b"["):
            depth += 1
            if depth > DEEPEST_BESIDE and not places:
                break
            if depth == 2 and character == b"[" and key == b'"batch"' and not places:
                places.append(token.start())
        elif character in (b"}", b"]"):
            depth -= 1
            if places and depth == 1:
                return [*places, token.start()]
        elif places:
            if depth == 2 and character == b",":
                places.append(token.start())
        elif depth == 1 and character.startswith(b'"'):
            text = character
        elif depth == 1:
            key = text if character == b":" else b""
    return places


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(SCRAPS), max_size=40))
def test_separators_of_any_text_are_found_where_a_plain_reading_finds_them(scraps: list[str]) -> None:
    body = "".join(scraps).encode()

    assert list(separators(body)) == one_by_one(body)


@settings(max_examples=300)
@given(st.lists(values, max_size=6), values, st.booleans())
def test_events_of_a_batch_lie_between_its_separators(events: list[object], beside: object, first: bool) -> None:
    members = {"beside": beside, "batch": events} if first else {"batch": events, "beside": beside}
    body = json.dumps(members).encode()

    places = list(separators(body))

    pieces = [body[start + 1 : end] for start, end in pairwise(places)]
    assert [json.loads(piece) for piece in pieces if piece] == events
    assert places == one_by_one(body)


@settings(max_examples=300)
@given(values, st.integers(0, 12))
def test_depth_is_that_of_the_nested_value(value: object, limit: int) -> None:
    assert depth_exceeds(json.dumps(value).encode(), limit) is (depth_of(value) > limit)


@pytest.mark.parametrize("levels", [1, 63, 64, 65, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[1,"[",', "]")])
def test_depth_is_told_at_any_level(levels: int, opening: str, closing: str) -> None:
    text = (opening * levels + "1" + closing * levels).encode()

    assert depth_exceeds(text, 64) is (levels > 64)


def test_brackets_in_texts_are_no_depth() -> None:
    assert not depth_exceeds(json.dumps({"a": "[{" * 500, 'b"]': "\\" * 99}).encode(), 2)


def test_body_that_takes_too_many_steps_is_given_up() -> None:
    deep_items = b"[[[[[[1]]]]]]," * MAX_PIECES
    body = b'{"batch":[' + deep_items + b"1]}"

    places = list(separators(body))

    assert len(places) < MAX_PIECES
    assert body[places[-1]] != b"]"[0]
