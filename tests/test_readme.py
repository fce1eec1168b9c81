from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from sluicegate.config import load
from sluicegate.scripts.admin import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("sluicegate ")]


def test_configuration_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "sluicegate.toml"
    path.write_text(text)

    config = load(path, environ={"WEB_WRITE_KEY": "a-long-enough-key"})

    assert set(config.destinations) == {"archive", "crm"}
    assert len([line for line in text.splitlines() if line and not line.startswith("#")]) <= 10
    assert tomllib.loads(text)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_command_exists_and_takes_these_arguments(command: list[str]) -> None:
    context = click.Context(main)
    found: click.Command | None = main
    arguments = command[1:]
    while isinstance(found, click.Group):
        name, *arguments = arguments
        found = found.get_command(context, name)

    assert found is not None, f"{command} is no command"
    found.make_parser(context).parse_args(arguments)


def test_scripts_are_there_and_executable() -> None:
    for name in ("run", "test", "check"):
        assert (ROOT / "scripts" / name).stat().st_mode & 0o100


def test_linked_pages_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_of_the_changelog_exists() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    listed = re.search(r"command: (.*?)\.\n", changelog, re.DOTALL)
    assert listed
    names = {name.strip() for name in listed[1].replace("\n", " ").split(",")}

    assert names == set(main.list_commands(click.Context(main)))
