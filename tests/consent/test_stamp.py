import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.consent.stamp import MAX_CATEGORIES, DuplicateKey, Parts, Stamp, read_stamp

ABSENT = object()


def stamp(
    *, consent: Any = ABSENT, segment: Any = ABSENT, rudderstack: Any = ABSENT, aliases: dict[str, str] | None = None
) -> Stamp:
    parts = [b"" if part is ABSENT else json.dumps(part).encode() for part in (consent, segment, rudderstack)]
    return read_stamp(Parts(*parts), aliases=aliases or {})


def preferences(**categories: Any) -> dict[str, Any]:
    return {"categoryPreferences": categories}


def test_statement_1_nothing_told_decides_nothing() -> None:
    assert stamp() == Stamp({})


def test_statement_3_empty_preferences_decide_nothing() -> None:
    assert stamp(segment=preferences()) == Stamp({})
    assert stamp(segment={}) == Stamp({})


def test_statement_3_category_that_is_missing_is_undecided() -> None:
    assert stamp(segment=preferences(marketing=True)).decided == {"marketing": True}


@pytest.mark.parametrize("value", ["false", "true", 1, 0, None, "granted", [], {}, [True], {"granted": True}, 1.5])
def test_statement_4_value_that_is_no_boolean_is_undecided_and_counted(value: object) -> None:
    found = stamp(segment=preferences(marketing=value, measurement=True))

    assert found == Stamp({"measurement": True}, malformed=1)


@pytest.mark.parametrize("value", [[], "granted", 1, True, None, [{"marketing": True}]])
@pytest.mark.parametrize("dialect", ["consent", "segment", "rudderstack"])
def test_statement_5_object_of_the_wrong_type_decides_nothing(dialect: str, value: Any) -> None:
    assert stamp(**{dialect: value}) == Stamp({}, malformed=1)


@pytest.mark.parametrize("value", [[], "all", None, 3, True])
def test_statement_5_preferences_of_the_wrong_type_decide_nothing(value: object) -> None:
    assert stamp(segment={"categoryPreferences": value}) == Stamp({}, malformed=1)


def test_malformed_object_takes_the_grants_of_other_dialects_and_keeps_their_denials() -> None:
    found = stamp(consent={"marketing": True, "measurement": False}, segment="granted")

    assert found == Stamp({"measurement": False}, malformed=1)


def test_malformed_value_outweighs_a_grant_and_not_a_denial() -> None:
    found = stamp(
        consent={"a": True, "b": False},
        segment=preferences(a="yes", b="yes"),
    )

    assert found == Stamp({"b": False}, malformed=2)


def test_statement_6_unknown_purpose_is_kept() -> None:
    assert stamp(consent={"unheard_of": True}).decided == {"unheard_of": True}


@pytest.mark.parametrize(
    ("allowed", "denied", "expected"),
    [
        ([], ["m"], {"m": False}),
        (["m"], [], {"m": True}),
        (["m"], ["m"], {"m": False}),
        (["x"], ["y"], {"x": True, "y": False}),
        ([], [], {}),
    ],
)
def test_statement_8_rudderstack_lists(allowed: list[str], denied: list[str], expected: dict[str, bool]) -> None:
    found = stamp(
        rudderstack={
            "allowedConsentIds": allowed,
            "deniedConsentIds": denied,
            "provider": "custom",
            "resolutionStrategy": "or",
        }
    )

    assert found == Stamp(expected)


@pytest.mark.parametrize("ids", ["m", None, {"m": True}, [1], ["m", None]])
def test_rudderstack_list_of_the_wrong_shape_grants_nothing(ids: object) -> None:
    found = stamp(consent={"m": True}, rudderstack={"allowedConsentIds": ids})

    assert found == Stamp({}, malformed=1)


def test_statement_9_dialects_that_disagree_give_the_most_restrictive() -> None:
    found = stamp(
        consent={"a": True, "b": False, "c": True},
        segment=preferences(a=False, b=True),
        rudderstack={"allowedConsentIds": ["a", "b", "c"]},
    )

    assert found.decided == {"a": False, "b": False, "c": True}


def test_c15t_booleans_are_read_and_the_time_of_the_decision_is_not_a_purpose() -> None:
    found = stamp(consent={"measurement": True, "marketing": False, "givenAt": 1_700_000_000_000, "decidedAt": None})

    assert found == Stamp({"measurement": True, "marketing": False})


def test_aliases_map_categories_and_several_give_the_most_restrictive() -> None:
    aliases = {"C0002": "measurement", "stats": "measurement", "C0004": "marketing"}

    found = stamp(segment=preferences(C0002=True, stats=False, C0004=True), aliases=aliases)

    assert found.decided == {"measurement": False, "marketing": True}


def test_category_ids_are_case_sensitive() -> None:
    assert stamp(segment=preferences(c0002=True), aliases={"C0002": "measurement"}).decided == {"c0002": True}


@pytest.mark.parametrize("value", [True, False])
def test_statement_13_necessary_is_not_part_of_the_stamp(value: bool) -> None:
    assert stamp(consent={"necessary": value, "a": True}) == Stamp({"a": True}, necessary_refused=not value)


def test_key_given_twice_is_refused() -> None:
    with pytest.raises(DuplicateKey):
        read_stamp(Parts(consent=b'{"marketing":false,"marketing":true}'), aliases={})


def test_more_categories_than_the_bound_grant_nothing_and_stay_within_it() -> None:
    found = stamp(consent={f"purpose {number}": number % 2 == 0 for number in range(500)})

    assert found.malformed == 1
    assert len(found.decided) == MAX_CATEGORIES
    assert not any(found.decided.values())


def test_of_more_denials_than_the_bound_those_of_known_purposes_stay() -> None:
    vendors = [f"vendor {number}" for number in range(500)]
    denied = json.dumps({"deniedConsentIds": [*vendors, "C4"]}).encode()

    found = read_stamp(Parts(rudderstack=denied), aliases={"C4": "marketing"}, known=("marketing",))

    assert len(found.decided) == MAX_CATEGORIES
    assert found.decided["marketing"] is False


@pytest.mark.parametrize(
    "said",
    [
        {"consent": {"x" * 129: True, "marketing": False}},
        {"segment": preferences(**{"x" * 129: False, "marketing": False, "experience": True})},
        {"rudderstack": {"deniedConsentIds": ["x" * 129, "marketing"], "allowedConsentIds": ["experience"]}},
        {"rudderstack": {"deniedConsentIds": [5, "marketing"], "allowedConsentIds": ["experience"]}},
    ],
)
def test_what_is_denied_beside_something_unreadable_stays_denied(said: dict[str, Any]) -> None:
    assert stamp(**said) == Stamp({"marketing": False}, malformed=1)


def test_deeply_nested_consent_is_malformed() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

    assert read_stamp(Parts(consent=deep), aliases={}) == Stamp({}, malformed=1)


names = st.sampled_from(["necessary", "measurement", "marketing", "C0002", "other"])
values: st.SearchStrategy[Any] = st.one_of(st.booleans(), st.none(), st.just("true"), st.just(1), st.just([]))
flat = st.dictionaries(names, values)
lists = st.one_of(st.lists(names), st.just("all"), st.just([1]))
dialects = st.tuples(
    st.one_of(st.just(ABSENT), flat, st.just("granted"), st.just([])),
    st.one_of(st.just(ABSENT), flat.map(lambda categories: {"categoryPreferences": categories}), st.none()),
    st.one_of(
        st.just(ABSENT), st.fixed_dictionaries({}, optional={"allowedConsentIds": lists, "deniedConsentIds": lists})
    ),
)
ALIASES = {"C0002": "measurement"}


@given(dialects)
def test_no_dialect_more_ever_grants_more_or_hides_a_denial(said: tuple[Any, Any, Any]) -> None:
    whole = stamp(consent=said[0], segment=said[1], rudderstack=said[2], aliases=ALIASES).decided
    alone = [
        stamp(consent=said[0], aliases=ALIASES).decided,
        stamp(segment=said[1], aliases=ALIASES).decided,
        stamp(rudderstack=said[2], aliases=ALIASES).decided,
    ]

    for purpose, granted in whole.items():
        votes = [decided[purpose] for decided in alone if purpose in decided]
        assert all(votes) if granted else not all(votes)
    for decided in alone:
        assert all(whole.get(purpose) is False for purpose, granted in decided.items() if not granted)


@given(st.lists(st.tuples(names, values), unique_by=lambda item: item[0]), st.randoms())
def test_order_of_categories_does_not_matter(items: list[tuple[str, Any]], random: Any) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)

    assert stamp(consent=dict(items), aliases=ALIASES) == stamp(consent=dict(shuffled), aliases=ALIASES)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)


@given(json_values, json_values, json_values)
def test_any_json_is_read_without_an_error(consent: Any, segment: Any, rudderstack: Any) -> None:
    found = stamp(consent=consent, segment=segment, rudderstack=rudderstack)

    assert all(type(value) is bool for value in found.decided.values())
    if not all(isinstance(part, dict) for part in (consent, segment, rudderstack)):
        assert not any(found.decided.values())


@given(st.binary())
def test_any_bytes_are_read_without_an_error_and_grant_nothing(raw: bytes) -> None:
    try:
        found = read_stamp(Parts(segment=raw), aliases={})
    except DuplicateKey:
        return
    assert not any(found.decided.values())
