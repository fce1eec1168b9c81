from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.acceptance.screen import HIGHEST, LOWEST, fit, surely_fit, surely_fits

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(LOWEST - 2, LOWEST + 2),
    st.integers(HIGHEST - 2, HIGHEST + 2),
    st.floats(allow_nan=False, allow_infinity=False),
)
exponents = st.builds(
    "{}{}{}{}".format,
    st.integers(-99, 99),
    st.sampled_from("eE"),
    st.sampled_from(["", "+", "-", "0"]),
    st.integers(0, 500),
)


@given(st.lists(numbers))
def test_both_ways_to_check_numbers_agree_with_their_bounds(values: list[int | float]) -> None:
    text = json.dumps({"a": values}).encode()
    expected = all(isinstance(value, float) or LOWEST <= value <= HIGHEST for value in values)

    assert surely_fit(text) is fit(text) is expected


@given(exponents)
def test_exponents_beyond_a_double_do_not_fit(text: str) -> None:
    expected = not math.isinf(float(text))

    assert surely_fit(f"[{text}]".encode()) is fit(f"[{text}]".encode()) is expected


@given(st.text())
def test_digits_in_texts_are_no_numbers(text: str) -> None:
    body = json.dumps(["1e400", "9" * 400, text + "1e999", {"1e400": text}]).encode()

    assert surely_fit(body)
    assert fit(body)


@pytest.mark.parametrize("depth", [1, 2, 5, 64, 66, 500])
def test_depth_is_bounded_where_it_is_asked_for(depth: int) -> None:
    within = b"[" * (depth - 1) + b"{}" + b"]" * (depth - 1)
    beyond = b'{"a":' * depth + b"1" + b"}" * depth

    assert surely_fits(within, max_depth=depth)
    assert not surely_fits(b"[" + beyond + b"]", max_depth=depth)


def test_text_that_is_no_json_is_left_to_others() -> None:
    assert fit(b"{")
    assert fit(b"\xff")
    assert not surely_fit(b"{")
    assert not surely_fit(b"")
