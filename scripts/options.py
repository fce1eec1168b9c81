"""Options that many commands share, and how they find the running system."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sluicegate import config
from sluicegate.client import Client
from sluicegate.config import DEFAULT_FILE, Config
from sluicegate.errors import NotRunning
from sluicegate.paths import DataDir

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DATA_DIR = Path("data")

AT_LEAST_ONE = click.IntRange(min=1, max=2**63 - 1)
"""A count or an id: no store holds a larger number."""


class Seconds(click.FloatRange):
    """So many seconds at least, and a week at most: no clock waits for `nan` or for ever."""

    def __init__(self, min: float) -> None:
        super().__init__(min=min, max=7 * 86_400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails for what is none that can be waited for."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


CONSENT_HELP = "Granted purposes, such as measurement,marketing; a leading - denies one."


class GivenPath(click.Path):
    """A path that is not empty: an empty one is most likely a variable that is not set, and means where one is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            self.fail("it is empty: name one, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


def config_option(command: F) -> F:
    """`--config FILE`; sluicegate.toml of this folder when there is one."""
    return click.option(
        "--config",
        "config_path",
        type=GivenPath(path_type=Path, dir_okay=False),
        envvar="SLUICEGATE_CONFIG",
        show_envvar=True,
        help="Configuration file; default: sluicegate.toml if there is one here.",
    )(command)


def data_dir_option(command: F) -> F:
    """`--data-dir DIR`; overrides the configuration's."""
    return click.option(
        "--data-dir",
        type=GivenPath(path_type=Path, file_okay=False),
        envvar="SLUICEGATE_DATA_DIR",
        show_envvar=True,
        help="Data directory; default: the configuration's, else ./data.",
    )(command)


def json_option(command: F) -> F:
    """`--json`: output for programs; errors too are JSON then, on standard error (`failures`)."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def system_options(command: F) -> F:
    """`--config` and `--data-dir`: which system is meant."""
    return config_option(data_dir_option(command))


def read_consent(text: str) -> dict[str, bool]:
    """`measurement,-marketing` as {purpose: granted}; of the same purpose named both ways the denial counts."""
    found: dict[str, bool] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        purpose = word.removeprefix("-").strip()
        if not purpose:
            raise click.BadParameter(f"{word!r} names no purpose", param_hint="--consent")
        found[purpose] = not word.startswith("-") and found.get(purpose, True)
    return found


def existing_config(config_path: Path | None) -> Path | None:
    """The configuration file to read; a named one must exist."""
    if config_path is not None:
        if config_path.is_file():
            return config_path
        if config_path.exists():  # relative paths in it would mean nothing, and a pipe can be read only once
            raise click.UsageError(f"{config_path} is not a regular file; write the configuration to one")
        raise click.UsageError(f"{config_path} does not exist; write one with `sluicegate init {config_path}`")
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def find_config(config_path: Path | None, data_dir: Path | None) -> Config | None:
    """The configuration that the options name, None when there is no file."""
    path = existing_config(config_path)
    return config.load(path, environ=os.environ, data_dir=data_dir) if path else None


def find_data_dir(config_path: Path | None, data_dir: Path | None) -> DataDir:
    """The data directory that the options name; needs none of the configuration's secrets."""
    if data_dir is not None:
        return DataDir(data_dir)
    path = existing_config(config_path)
    return DataDir(config.find_data_dir(path, environ=os.environ) if path else DEFAULT_DATA_DIR)


def require_system(where: DataDir) -> None:
    """Raise `NotRunning` for a folder that has nothing of a system: what is done there would be done to none."""
    if not where.root.is_dir():
        raise NotRunning(f"{where.root} does not exist; name the data directory with --data-dir")
    if not any(path.exists() for path in (where.event_log, where.consent, where.stores)):
        raise NotRunning(f"{where.root} holds nothing of a system; name the data directory with --data-dir")


def connect(config_path: Path | None, data_dir: Path | None, *, timeout_s: float = 10.0) -> Client:
    """A client of the running system, which has so long to answer; raises `NotRunning`."""
    return Client(find_data_dir(config_path, data_dir).root, source="cli", timeout_s=timeout_s)
