from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.mapping.places import holders, parse_place, read, write

NAMES = st.text(st.characters(blacklist_characters=".[]", blacklist_categories=["Z", "C"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[0]", "a[]", "[]", "a.[]", " a", "a. b", ".".join("a" * 17)]
)
def test_text_that_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_place(text)


@given(st.lists(NAMES, min_size=1, max_size=5), st.integers())
def test_what_was_written_at_a_place_is_read_there(steps: list[str], value: int) -> None:
    event: dict[str, object] = {"other": 1}
    place = parse_place(".".join(steps))

    write(event, place, value)

    assert read(event, place) == value
    assert str(place) == ".".join(steps)


def test_list_stands_for_each_of_its_elements() -> None:
    event = {"properties": {"products": [{"sku": "a"}, {"name": "b"}, 7, {"sku": "c"}]}}

    found = [holder[name] for holder, name in holders(event, parse_place("properties.products[].sku"))]

    assert found == ["a", "c"]


@pytest.mark.parametrize("event", [{}, {"a": None}, {"a": 3}, {"a": [1]}, {"a": {"b": 1}}])
def test_place_that_is_not_there_is_none(event: dict[str, object]) -> None:
    assert read(event, parse_place("a.c")) is None
    assert list(holders(event, parse_place("a[].c"))) == []


def test_value_that_is_no_object_makes_room_for_one() -> None:
    event: dict[str, object] = {"a": 3}

    write(event, parse_place("a.b"), 4)

    assert event == {"a": {"b": 4}}
