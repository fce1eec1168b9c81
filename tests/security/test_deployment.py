from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sluicegate.scripts.admin import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNIT = (DEPLOY / "sluicegate.service").read_text()
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
MAX_EXPOSURE = 15
"""Of 100; what `systemd-analyze security` makes of the unit."""
PAGES = [ROOT / "SECURITY.md", ROOT / "docs" / "guarantees.md", DEPLOY / "README.md"]


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def instruction(name: str) -> str:
    found: list[str] = re.findall(rf"^\s*{name} (.*)$", CONTAINERFILE.replace("\\\n", " "), re.MULTILINE)
    return found[-1]


def takes(arguments: list[str]) -> bool:
    """Whether the command line has such a command with such options."""
    context = click.Context(main)
    command = main.get_command(context, arguments[0])
    assert command is not None
    options = {name for option in command.params for name in option.opts}
    return {argument for argument in arguments[1:] if argument.startswith("-")} <= options


@pytest.mark.parametrize("line", settings("ExecStart") + settings("ExecStartPre"))
def test_unit_starts_commands_that_exist(line: str) -> None:
    program, *arguments = shlex.split(line)

    assert program.endswith("/bin/sluicegate")
    assert takes(arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("StateDirectoryMode", "0700"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("TimeoutStopSec", "30"),
        ("Restart", "on-failure"),
        ("UMask", "0077"),
        ("CapabilityBoundingSet", ""),
    ],
)
def test_unit_is_hardened(name: str, value: str) -> None:
    assert settings(name) == [value]


def test_unit_has_every_bound() -> None:
    assert all(settings(name) for name in ("MemoryMax", "TasksMax", "LimitNOFILE", "StartLimitBurst"))


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd is not installed")
    return found


def test_systemd_finds_no_mistake_in_the_unit(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / "sluicegate.service"
    unit.write_text(UNIT.replace("/opt/sluicegate/bin/sluicegate", sys.executable))

    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)

    assert [line for line in done.stderr.splitlines() if "sluicegate.service" in line] == []


def test_systemd_rates_the_unit_as_little_exposed(analyze: str) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(DEPLOY / "sluicegate.service")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd cannot analyze a file")
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_container_runs_a_command_that_exists_as_a_user_without_rights() -> None:
    assert takes(json.loads(instruction("CMD")))
    assert int(instruction("USER").split(":")[0]) > 0
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert instruction("VOLUME") == "/data"
    assert "/ready" in instruction("HEALTHCHECK")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_to_what_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_exist(page: Path) -> None:
    named = re.findall(r"`sluicegate (.+?)`|^sluicegate (\S.*?)(?:  |$)", page.read_text(), re.MULTILINE)
    commands = [shlex.split(first or second) for first, second in named]

    assert [command for command in commands if command[0][0] != "-" and not takes(command)] == []
