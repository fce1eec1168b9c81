from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sluicegate.config.model import PurposesConfig, Requirement
from sluicegate.config.problems import Wrong
from sluicegate.config.purposes import read_requirement
from sluicegate.errors import Problem

PURPOSES = PurposesConfig(("newsletter",), {"C0002": "measurement", "C0001": "necessary"})


@pytest.mark.parametrize(
    ("written", "requirement"),
    [
        (["necessary"], Requirement(all=("necessary",))),
        (["measurement", "newsletter"], Requirement(all=("measurement", "newsletter"))),
        ({"all": ["C0002", "measurement"]}, Requirement(all=("measurement",))),
        ({"any": ["marketing", "C0002"]}, Requirement(any=("marketing", "measurement"))),
        ({"all": ["newsletter"], "any": ["marketing"]}, Requirement(("newsletter",), ("marketing",))),
    ],
)
def test_requirements_are_read_and_aliases_resolved(written: object, requirement: Requirement) -> None:
    assert read_requirement(written, PURPOSES) == requirement


@pytest.mark.parametrize(
    "written",
    [
        "necessary",
        [],
        {},
        {"all": []},
        {"any": []},
        {"all": ["necessary"], "any": []},
        {"some": ["necessary"]},
        [1],
        None,
        True,
        3,
        [""],
        {"all": "necessary"},
        {"all": {"any": ["necessary"]}},
    ],
)
def test_what_is_no_requirement_is_refused(written: object) -> None:
    with pytest.raises(Wrong):
        read_requirement(written, PURPOSES)


@pytest.mark.parametrize("name", ["necessary", "C0001"])
def test_any_with_necessary_is_refused_because_it_would_always_be_met(name: str) -> None:
    with pytest.raises(Wrong, match="always be met"):
        read_requirement({"any": ["marketing", name]}, PURPOSES)


def test_statement_6_an_unknown_purpose_is_refused_by_name_with_a_suggestion() -> None:
    with pytest.raises(Wrong, match="'Marketing'") as caught:
        read_requirement(["Marketing"], PURPOSES)

    assert "did you mean marketing?" in caught.value.suggestion
    assert 'custom = ["Marketing"]' in caught.value.suggestion


def test_joining_only_ever_adds() -> None:
    joined = Requirement(("a",), ("b", "c")).joined(("marketing", "a"))

    assert joined == Requirement(("marketing", "a"), ("b", "c"))
    assert joined.purposes == ("marketing", "a", "b", "c")


def test_the_table_has_custom_purposes_and_aliases(document: dict[str, Any], read: Callable[..., Any]) -> None:
    document["purposes"] = {"custom": ["newsletter"], "analytics": "measurement", "news": "newsletter"}
    document["destinations"]["archive"]["requires"] = ["analytics", "news"]

    config = read(document)

    assert config.purposes.known[-1] == "newsletter"
    assert config.purposes.resolve("analytics") == "measurement"
    assert config.purposes.resolve("elsewhere") == "elsewhere"
    assert config.destinations["archive"].requires == Requirement(all=("measurement", "newsletter"))


@pytest.mark.parametrize(
    "purposes",
    [
        {"custom": ["marketing"]},
        {"custom": []},
        {"custom": "newsletter"},
        {"custom": [" x "]},
        {"analytics": "mesurement"},
        {"analytics": "C2", "C2": "measurement"},
        {"marketing": "measurement"},
        {"analytics": ["measurement"]},
        {"": "measurement"},
        ["measurement"],
    ],
)
def test_mistakes_in_the_table_are_problems(
    document: dict[str, Any], problems_of: Callable[..., dict[str, Problem]], purposes: object
) -> None:
    document["purposes"] = purposes

    assert any(key.startswith("purposes") for key in problems_of(document))


def test_a_broken_custom_purpose_does_not_hide_the_others(
    document: dict[str, Any], problems_of: Callable[..., dict[str, Problem]]
) -> None:
    document["purposes"] = {"custom": ["newsletter", "necessary"], "news": "newsletter"}

    assert list(problems_of(document)) == ["purposes.custom"]
