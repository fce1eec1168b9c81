from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from sluicegate.mapping.changes import Changes, hashed
from sluicegate.mapping.model import MapConfig

EMAIL_HASH = sha256(b"ada@example.com").hexdigest()


def changed(event: dict[str, Any], **config: Any) -> dict[str, Any]:
    Changes(MapConfig(**config)).apply(event)
    return event


@pytest.mark.parametrize(
    ("event", "config", "wanted"),
    [
        ({"type": "track", "event": "Order Completed"}, {"only": ("order *",)}, True),
        ({"type": "track", "event": "Signed Up"}, {"only": ("order *",)}, False),
        ({"type": "track", "event": "Signed Up"}, {"skip": ("order *",)}, True),
        ({"type": "track", "event": "Order Refunded"}, {"only": ("Order *",), "skip": ("Order Refunded",)}, False),
        ({"type": "page", "name": "Home", "event": "x"}, {"only": ("Home",)}, True),
        ({"type": "identify"}, {"only": ("Home",)}, False),
        ({"type": "identify"}, {"skip": ("Home",)}, True),
        ({"type": "track", "event": 7}, {"only": ("7",)}, False),
        ({"type": "track", "event": "a[b"}, {"only": ("a[b",)}, True),
        ({"type": "track", "event": "Order [Test]"}, {"skip": ("Order [test]",)}, False),
        ({"type": "track", "event": "Order t"}, {"skip": ("Order [test]",)}, True),
        ({"type": "track", "event": "Really?"}, {"only": ("really?",)}, True),
        ({"type": "track", "event": "Really!"}, {"only": ("Really?",)}, False),
        ({"type": "track", "event": "[x] a?b"}, {"only": ("[x]*?b",)}, True),
    ],
)
def test_event_goes_out_by_its_name(event: dict[str, Any], config: dict[str, Any], wanted: bool) -> None:
    assert Changes(MapConfig(**config)).wants(event) is wanted


def test_identifier_is_taken_from_another_place_if_there_is_one() -> None:
    there = changed({"userId": "u", "traits": {"crm": 42}}, user_id="traits.crm")
    not_there = changed({"userId": "u", "traits": {"crm": ""}}, user_id="traits.crm")

    assert there["userId"] == "42"
    assert not_there["userId"] == "u"


def test_member_gets_another_name_and_place() -> None:
    event = changed({"properties": {"total": 3, "a": 1}}, rename={"properties.total": "value", "properties.none": "x"})

    assert event == {"properties": {"a": 1}, "value": 3}


def test_members_are_dropped_from_every_element_of_a_list() -> None:
    event = changed({"products": [{"sku": 1, "margin": 2}, {"margin": 3}]}, drop=("products[].margin", "ip"))

    assert event == {"products": [{"sku": 1}, {}]}


def test_text_is_hashed_in_the_form_by_which_vendors_match_people() -> None:
    event = changed({"traits": {"email": " Ada@Example.com "}}, hash=("traits.email",))

    assert event == {"traits": {"email": EMAIL_HASH}}


@pytest.mark.parametrize("value", [None, True, "", "  ", EMAIL_HASH, {"a": "b"}, 1.5])
def test_what_cannot_be_hashed_or_is_a_hash_already_stays(value: object) -> None:
    assert hashed(value) == (value.strip() if isinstance(value, str) else value)


def test_lists_are_hashed_by_element_and_numbers_as_text() -> None:
    assert hashed(["ada@example.com", 42]) == [EMAIL_HASH, sha256(b"42").hexdigest()]


def test_whole_number_with_a_point_is_the_same_as_one_without() -> None:
    event = changed({"traits": {"id": 42.0, "phone": [491511234567.0]}}, user_id="traits.id", hash=("traits.phone",))

    assert event["userId"] == "42"
    assert event["traits"]["phone"] == [sha256(b"491511234567").hexdigest()]


def test_values_are_added_last() -> None:
    event = changed({"a": 1}, drop=("b",), add={"b": 2, "context.site": "shop"})

    assert event == {"a": 1, "b": 2, "context": {"site": "shop"}}
