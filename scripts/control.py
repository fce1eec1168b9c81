"""Commands that change what runs: load, preload, unload, retry, reset, pause, resume, clear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import click

from sluicegate.errors import Refused
from sluicegate.messages.codec import Message
from sluicegate.messages.control import (
    ClearAll,
    Done,
    LoadBatch,
    Pause,
    Preload,
    Reset,
    Resume,
    RetryLoad,
    Unload,
)
from sluicegate.scripts.loading import load_all
from sluicegate.scripts.options import AT_LEAST_ONE, CONSENT_HELP, connect, json_option, read_consent, system_options


def _request_id() -> str:
    return uuid4().hex


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--batch-size", type=AT_LEAST_ONE, help="How many at a time; else load_batch_size says it.")
@json_option
@system_options
def load(
    ids: tuple[str, ...], batch_size: int | None, as_json: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """Load destinations now instead of at their first event."""
    with connect(config_path, data_dir) as client:
        results = load_all(client, LoadBatch(_request_id(), ids, batch_size))
    _print_results(results, as_json)


@click.command()
@click.option("--consent", required=True, help=CONSENT_HELP)
@json_option
@system_options
def preload(consent: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Load every destination that this consent allows; what it does not name is not granted."""
    preferences = read_consent(consent)
    with connect(config_path, data_dir) as client:
        results = load_all(client, Preload(_request_id(), preferences))
    _print_results(results, as_json)


def _print_results(results: Mapping[str, str | None], as_json: bool) -> None:
    _echo_results(results, as_json)
    failed = sum(1 for error in results.values() if error is not None)
    if failed:
        raise Refused(f"{failed} of {len(results)} did not load")


def _echo_results(results: Mapping[str, str | None], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(results))
        return
    for name, error in results.items():
        click.echo(f"{name}: {error or 'loaded'}")
    if not results:
        click.echo("no destination is allowed by this consent")


@click.command()
@click.argument("id")
@json_option
@system_options
def unload(id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Stop a destination; its next event loads it again."""
    _command(Unload(_request_id(), id), f"{id} is unloaded", as_json, config_path, data_dir)


@click.command()
@click.argument("id")
@json_option
@system_options
def retry(id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Try to load a failed or quarantined destination now."""
    _command(RetryLoad(_request_id(), id), f"{id} is tried again", as_json, config_path, data_dir)


@click.command()
@click.argument("id")
@json_option
@system_options
def reset(id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Forget a destination's failures."""
    _command(Reset(_request_id(), id), f"{id} starts afresh", as_json, config_path, data_dir)


@click.command()
@click.argument("id")
@json_option
@system_options
def pause(id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Stop a destination until it is resumed; its events wait."""
    _command(Pause(_request_id(), id), f"{id} is paused", as_json, config_path, data_dir)


@click.command()
@click.argument("id")
@json_option
@system_options
def resume(id: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """End a pause; what waited is delivered."""
    _command(Resume(_request_id(), id), f"{id} is resumed", as_json, config_path, data_dir)


@click.command()
@json_option
@system_options
def clear(as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    """Stop all destinations and forget their failures; events and accounts stay."""
    _command(ClearAll(_request_id()), "all destinations are unloaded", as_json, config_path, data_dir)


def _command(message: Message, done: str, as_json: bool, config_path: Path | None, data_dir: Path | None) -> None:
    with connect(config_path, data_dir) as client:
        answer = client.ask_supervisor(message)
    assert isinstance(answer, Done)
    text = done if answer.changed else answer.note
    if as_json:
        click.echo(json.dumps({"id": getattr(message, "id", None), "changed": answer.changed, "text": text}))
    else:
        click.echo(text)
