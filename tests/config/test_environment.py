from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from sluicegate.config.environment import MAX_DEPTH, substitute
from sluicegate.config.problems import Problems
from sluicegate.errors import ConfigError


def expand(value: Any, **environ: str) -> Any:
    problems = Problems({"key": value})
    result = substitute({"key": value}, environ, problems)["key"]
    problems.raise_if_any("test")
    return result


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A {A} $", "$A {A} $"),
        ("${C}", "${A}"),
    ],
)
def test_variables_are_put_in_once(written: str, read: str) -> None:
    assert expand(written, A="one", B="two", C="${A}") == read


def test_variables_are_put_into_lists_and_tables() -> None:
    assert expand({"a": ["${A}", 1, {"b": "${A}"}]}, A="one") == {"a": ["one", 1, {"b": "one"}]}


def test_dates_become_texts() -> None:
    assert expand([dt.date(2026, 1, 2), dt.time(3, 4)]) == ["2026-01-02", "03:04:00"]


@pytest.mark.parametrize("written", ["${}", "${A B}", "${1}", "${open", "x${"])
def test_a_dollar_brace_without_a_name_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="without a variable's name"):
        expand(written)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no variable TOKEN .*export TOKEN"):
        expand("${TOKEN}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 63, -(1 << 63) - 1])
def test_numbers_that_cannot_be_carried_are_refused(value: float) -> None:
    with pytest.raises(ConfigError):
        expand(value)


def test_a_variable_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ConfigError, match="not Unicode"):
        expand("${A}", A="\udcff")


def test_deep_nesting_is_refused() -> None:
    value: Any = 1
    for _ in range(5_000):
        value = {"a": value}

    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} levels"):
        expand(value)
