"""Every mistake is told with key, value, reason and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config import load
from sluicegate.config.keys import TABLES, Key, Table
from sluicegate.config.plugins import Plugins
from sluicegate.errors import ConfigError, Problem
from tests.config.conftest import Document

ProblemsOf = Callable[..., dict[str, Problem]]
WRONG: tuple[Any, ...] = (5, -1, "", "yes", "a b", True, [], [5], ["x y"], {}, {"x": 5}, 1e99)

KEYS = [(table, key) for table in TABLES for key in table.keys]


def placed(document: Document, table: Table, key: str, value: object) -> Document:
    """The document with this value at this key."""
    place: Any = document
    for name in filter(None, table.name.replace("ID", "archive").split(".")):
        place = place.setdefault(name, {})
    place[key] = value
    return document


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(("table", "key"), KEYS, ids=[f"{table.name}.{key.name}" for table, key in KEYS])
def test_every_mistake_says_what_to_write(
    table: Table, key: Key, value: object, document: Document, problems_of: ProblemsOf
) -> None:
    problems = problems_of(placed(document, table, key.name, value))

    assert [str(problem) for problem in problems.values() if not problem.suggestion] == []


@pytest.mark.parametrize("type_name", sorted(Plugins.installed().settings))
def test_every_mistake_in_the_settings_of_a_type_says_what_to_write(
    type_name: str, document: Document, problems_of: ProblemsOf
) -> None:
    settings = Plugins.installed().settings_type(type_name)
    assert settings is not None
    for name in ("no-such-key", *settings.__struct_encode_fields__):
        for value in WRONG:
            one = {"type": type_name, "requires": ["necessary"], name: value}
            problems = problems_of({**document, "destinations": {"x": one}})
            assert [str(problem) for problem in problems.values() if not problem.suggestion] == []


@pytest.mark.parametrize(
    ("destination", "key", "shown"),
    [
        ({"path": 5}, "path", 'path = 5: must be a text, not an integer (write it in quotes: "...")'),
        ({"path": "x", "test_on_load": "yes"}, "test_on_load", '"yes": must be true or false (write true or false'),
        ({}, "path", 'path: is missing, and the type needs it (write path = "...")'),
    ],
)
def test_mistakes_of_a_destination_are_told_in_full(
    destination: dict[str, object], key: str, shown: str, document: Document, problems_of: ProblemsOf
) -> None:
    one = {"type": "file", "requires": ["necessary"], **destination}

    problem = problems_of({**document, "destinations": {"x": one}})[f"destinations.x.{key}"]

    assert shown in str(problem)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("listne", "127.0.0.1:1", '"127.0.0.1:1"'),
        ("gateway.listne", "127.0.0.1:1", '"127.0.0.1:1"'),
        ("gateway.port", 80, "80"),
        ("gateway.debug", "much", '"much"'),
        ("datadir", "/srv", '"/srv"'),
        ("supervisor.idle_tll", "5m", '"5m"'),
        ("destinations.archive.pth", "events.jsonl", '"events.jsonl"'),
        ("gateway.write_kyes", {"web": "hunter2hunter2"}, '{"web": "***"}'),
        ("gateway.write_kye", "hunter2hunter2", '"***"'),
        ("gatway", {"listen": "hunter2hunter2"}, '{"listen": "***"}'),
        ("api_tokn", "hunter2hunter2", '"***"'),
        ("destinations.archive.pw", "hunter2hunter2", '"***"'),
        ("destinations.archive.scret", "hunter2hunter2", '"***"'),
    ],
)
def test_unknown_keys_show_their_value_unless_it_may_be_a_misspelt_secret(
    path: str, value: object, shown: str, document: Document, problems_of: ProblemsOf
) -> None:
    *tables, key = path.split(".")
    table = Table(".".join(tables), "", (), object)

    problem = problems_of(placed(document, table, key, value))[path]

    assert f"{path} = {shown}: unknown key (" in str(problem)


def test_sample_of_mistakes_on_the_page_is_what_is_printed(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    sample = page.split("```")[1].strip().splitlines()
    path = tmp_path / "sluicegate.toml"
    path.write_text(
        """
        [gateway]
        write_keys = { web = "a-write-key" }
        [supervisor]
        idle_tll = "5m"
        [destinations.crm]
        type = "null"
        """
    )

    with pytest.raises(ConfigError) as caught:
        load(path, environ={})

    assert str(caught.value).replace(str(path), "sluicegate.toml").splitlines() == sample
