"""Commands around the configuration file: init, validate."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click

from sluicegate.config import DEFAULT_FILE, Config, load, template
from sluicegate.config.plugins import Plugins
from sluicegate.errors import ConfigError, Refused
from sluicegate.scripts.failures import problem_json
from sluicegate.scripts.options import config_option, existing_config, json_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_FILE)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a commented configuration to start from."""
    if path.exists() and not force:
        raise Refused(f"{path} exists; use --force to replace it")
    if not path.parent.is_dir():
        raise Refused(f"{path.parent} is no folder that exists; make it first: mkdir -p {path.parent}")
    if path.is_file():
        _replace(path.resolve(), template())
    else:
        path.write_text(template())
    click.echo(f"wrote {path}; edit it, then: sluicegate validate {path} && sluicegate serve --config {path}")


def _replace(path: Path, text: str) -> None:
    """Put another text in the place of a file; on a full disk the file stays as it is."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text)
        shutil.copymode(path, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=False)
@config_option
@json_option
def validate(path: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Check a configuration and report every mistake in it."""
    path = path or existing_config(config_path)
    if path is None:
        raise click.UsageError(f"{DEFAULT_FILE} does not exist; write one with `sluicegate init`")
    try:
        config = load(path, environ=os.environ)
    except ConfigError as error:
        if not as_json:
            raise
        rows = [problem_json(problem) for problem in error.problems]
        click.echo(json.dumps({"valid": False, "problems": rows}, default=str))
        raise SystemExit(2) from None
    to_install = _to_install(config)
    if as_json:
        click.echo(json.dumps({"valid": True, "problems": [], "to_install": to_install}))
    else:
        for id, command in to_install.items():
            click.echo(f"{path}: destinations.{id} needs what is not installed here: {command}")
        click.echo(f"{path}: no mistakes; destinations: {', '.join(config.destinations) or 'none'}")


def _to_install(config: Config) -> dict[str, str]:
    """What enabled destinations need that is not installed: a command for each."""
    plugins = Plugins.installed()
    kinds = {id: one.type for id, one in config.destinations.items() if one.enabled}
    return {id: plugins.install_command(kind) for id, kind in kinds.items() if plugins.missing(kind)}
