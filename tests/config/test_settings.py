from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.config.secret import Secret
from sluicegate.config.settings import effective_limits, settings_for
from sluicegate.errors import ConfigError


class Sample(Settings):
    url: str
    token: Secret | None = None
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    folder: Path | None = None
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    mode: Literal["fast", "safe"] = "safe"
    items: list[int] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.url.startswith("https://"):
            raise ValueError(f"url: {self.url} is not https; write https://host")
        if self.token and not self.headers:
            raise ValueError(f"the token {self.token.reveal()} needs headers")


def problems_of(raw: dict[str, Any], kind: type[Settings] = Sample) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        settings_for("sample", raw, kind)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_settings_are_converted() -> None:
    settings = settings_for(
        "sample", {"url": "https://h", "headers": {"A": "b"}, "token": "t", "folder": "x", "ratio": 1}, Sample
    )

    assert settings == Sample(
        url="https://h", headers={"A": Secret("b")}, token=Secret("t"), folder=Path("x"), ratio=1.0
    )


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({}, "url"),
        ({"url": 3}, "url"),
        ({"url": "https://h", "ratio": 2}, "ratio"),
        ({"url": "https://h", "ratio": "0.5"}, "ratio"),
        ({"url": "https://h", "mode": "quick"}, "mode"),
        ({"url": "https://h", "items": [1, "2"]}, "items[1]"),
        ({"url": "https://h", "headers": {"A": 1}}, "headers"),
        ({"url": "https://h", "token": 12345678}, "token"),
        ({"url": "https://h", "tokn": "x"}, "tokn"),
        ({"url": "http://h"}, "url"),
    ],
)
def test_a_mistake_is_reported_at_its_key(raw: dict[str, Any], key: str) -> None:
    assert list(problems_of(raw)) == [key]


def test_all_mistakes_are_reported_at_once() -> None:
    assert set(problems_of({"ratio": 2, "mode": 3, "x": 1})) == {"url", "ratio", "mode", "x"}


def test_a_check_of_the_type_may_say_what_to_write() -> None:
    assert problems_of({"url": "http://h"})["url"] == "url: http://h is not https (write https://host)"


def test_a_type_s_own_message_does_not_show_secrets() -> None:
    (text,) = problems_of({"url": "https://h", "token": "hunter2"}).values()

    assert "hunter2" not in text
    assert "***" in text


def test_a_settings_class_that_raises_anything_is_a_problem() -> None:
    class Odd(Settings):
        def __post_init__(self) -> None:
            raise KeyError("odd")

    class Unreadable(Settings):
        thing: Requirement | Secret | None = None

    assert problems_of({}, Odd)
    assert problems_of({"thing": "x"}, Unreadable)


def test_a_class_that_is_no_settings_class_is_a_problem() -> None:
    assert problems_of({}, dict)  # type: ignore[arg-type]


def test_limits_are_lowered_where_the_configuration_says_so() -> None:
    declared = Limits(max_events=100, max_bytes=5000, in_flight=4)
    destination = DestinationConfig("x", "x", Requirement(("necessary",)), batch_size=10, in_flight=9)

    assert effective_limits(destination, declared) == Limits(max_events=10, max_bytes=5000, in_flight=4)


@pytest.mark.parametrize(("written", "age_s"), [(None, 30.0), (0.0, 0.0), (5.0, 5.0), (90.0, 90.0)])
def test_wait_for_a_full_batch_is_what_the_configuration_says(written: float | None, age_s: float) -> None:
    destination = DestinationConfig("x", "x", Requirement(("necessary",)), batch_age_s=written)

    assert effective_limits(destination, Limits(age_s=30.0)).age_s == age_s


def test_a_class_may_allow_keys_it_does_not_know() -> None:
    class Open(Settings, forbid_unknown_fields=False):
        limits: ClassVar[Limits] = Limits()

    assert settings_for("open", {"anything": 1}, Open) == Open()
