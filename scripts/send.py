"""The `send` command: one event from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sluicegate.errors import Refused
from sluicegate.scripts.options import connect, json_option, system_options


@click.command()
@click.argument("event")
@click.option("--type", "kind", default="track", type=click.Choice(["track", "page", "screen"]), show_default=True)
@click.option("--user-id", help="The subject's user id.")
@click.option("--anonymous-id", help="The subject's anonymous id; default when there is no user id: cli.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="May be given several times.")
@click.option("--consent", default="", help="Granted purposes, such as measurement,marketing; a leading - denies one.")
@json_option
@system_options
def send(
    event: str,
    kind: str,
    user_id: str | None,
    anonymous_id: str | None,
    properties: tuple[str, ...],
    consent: str,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Send an event named EVENT to the running system; returns when it is on disk."""
    common: dict[str, Any] = {"user_id": user_id, "anonymous_id": anonymous_id, "consent": _consent(consent)}
    if not user_id and not anonymous_id:
        common["anonymous_id"] = "cli"
    with connect(config_path, data_dir) as client:
        message_id = getattr(client, kind)(event, properties=dict(map(_property, properties)), **common)
        verdicts = client.flush()
    if verdicts:
        raise Refused(f"refused: {verdicts[0].reason}")
    click.echo(json.dumps({"messageId": message_id}) if as_json else f"stored as {message_id}")


def _consent(text: str) -> dict[str, bool] | None:
    purposes = [word.strip() for word in text.split(",") if word.strip()]
    return {word.lstrip("-"): not word.startswith("-") for word in purposes} or None


def _property(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--property")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
