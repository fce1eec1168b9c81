"""The `send` command: events from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import click
import msgspec

from sluicegate.client import Client
from sluicegate.errors import NotRunning, NotSent, Refused
from sluicegate.logs import printable
from sluicegate.messages.ingest import Verdict
from sluicegate.scripts.input import raw_events, read_all
from sluicegate.scripts.options import CONSENT_HELP, connect, json_option, read_consent, system_options


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an event type makes of the options: NAME as which argument, and which of --property and --trait it has."""

    name: str | None
    body: str
    needs_name: bool = True


_KINDS = {
    "track": _Kind("event", "properties"),
    "identify": _Kind(None, "traits"),
    "page": _Kind("name", "properties", needs_name=False),
    "screen": _Kind("name", "properties", needs_name=False),
    "group": _Kind("group_id", "traits"),
    "alias": _Kind("previous_id", ""),
}
_OPTIONS = {"properties": "--property", "traits": "--trait"}
_UNSENT = "this is not stored"
# The events of a file may go in several requests, the first of which may be stored by then.
_SOME_UNSENT = "not all of this is stored"
_AGAIN = "send the same again: events with a messageId of their own are stored once"


@click.command()
@click.argument("name", required=False)
@click.option(
    "--type", "kind", default="track", type=click.Choice(list(_KINDS)), show_default=True, help="Of the event."
)
@click.option("--user-id", help="The subject's user id.")
@click.option("--anonymous-id", help="The subject's anonymous id; default when there is no user id: cli.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Of track, page and screen.")
@click.option("--trait", "traits", multiple=True, metavar="NAME=VALUE", help="Of identify and group.")
@click.option("--message-id", help="The event's own id; sent again with the same one it is stored once.")
@click.option("--consent", default="", help=CONSENT_HELP)
@click.option("--file", type=click.File("rb"), help="Send the events in this file instead, - for standard input.")
@json_option
@system_options
def send(
    name: str | None,
    kind: str,
    file: BinaryIO | None,
    as_json: bool,
    config_path: Path | None,
    data_dir: Path | None,
    **options: Any,
) -> None:
    """Send an event to the running system; returns when it is on disk.

    NAME is the event's name (track), the page's or screen's, the group's id (group) or the id from before (alias).
    --property and --trait may be given several times; a VALUE that is JSON is taken as such. With --file the input
    is an event as JSON, several as JSON Lines or a JSON array, or a body as clients post it ({"batch": [...]}).
    """
    if file is not None:
        if name is not None or any(options.values()):
            raise click.UsageError("with --file the events say everything themselves: leave out all else")
        events = raw_events(read_all(file))
        verdicts = _sent(config_path, data_dir, _SOME_UNSENT, _AGAIN, lambda client: _add_all(client, events))
        _show_many(len(events), verdicts, as_json=as_json)
        return
    arguments = _arguments(name, kind, **options)
    message_id = arguments["message_id"]
    again = f"send it again with --message-id {message_id}: it is stored once"
    verdicts = _sent(config_path, data_dir, _UNSENT, again, lambda client: getattr(client, kind)(**arguments))
    if verdicts:
        raise Refused(f"refused: {verdicts[0].reason}")
    click.echo(json.dumps({"messageId": message_id}) if as_json else f"stored as {message_id}")


def _arguments(
    name: str | None,
    kind: str,
    *,
    user_id: str | None,
    anonymous_id: str | None,
    properties: tuple[str, ...],
    traits: tuple[str, ...],
    message_id: str | None,
    consent: str,
) -> dict[str, Any]:
    """What the client's method for this type takes."""
    about = _KINDS[kind]
    if name is None and about.needs_name and about.name:
        raise click.UsageError(f"{kind} needs a NAME: its {about.name.replace('_', ' ')}")
    if name is not None and not about.name:
        raise click.UsageError(f"{kind} has no NAME; say who with --user-id, and what with --trait")
    if kind == "alias" and not user_id:
        raise click.UsageError("alias needs --user-id: the id that the one from before stands for now")
    found: dict[str, Any] = {about.name: name} if about.name else {}
    for body, values in (("properties", properties), ("traits", traits)):
        if values and body != about.body:
            raise click.UsageError(f"{kind} has no {_OPTIONS[body]}")
        if body == about.body:
            found[body] = dict(map(_pair, values))
    if user_id is None and anonymous_id is None:
        anonymous_id = "cli"
    return found | {
        "user_id": user_id,
        "anonymous_id": anonymous_id,
        "message_id": str(uuid4()) if message_id is None else message_id,
        "consent": read_consent(consent) or None,
    }


def _sent(
    config_path: Path | None, data_dir: Path | None, unsent: str, again: str, add: Callable[[Client], object]
) -> list[Verdict]:
    """What the system says to these events; raises `NotRunning` after one wait when it says nothing.

    `unsent` is what is certain when the request has not even left, `again` how to send the same once more.
    """
    client = connect(config_path, data_dir)
    try:
        add(client)
        return client.flush()
    except NotSent as error:
        raise NotSent(f"no router was found: the system hangs or is being restarted, and {unsent}; {again}") from error
    except NotRunning as error:
        raise NotRunning(
            "no answer: the system hangs or is being restarted, and nobody knows whether this is stored; " + again
        ) from error
    finally:
        client.close(flush=False)


def _add_all(client: Client, events: list[bytes]) -> None:
    for event in events:
        client.add(event)


def _show_many(count: int, verdicts: list[Verdict], *, as_json: bool) -> None:
    if as_json:
        rejected = [{"index": one.index, "messageId": one.message_id, "reason": one.reason} for one in verdicts]
        click.echo(json.dumps({"accepted": count - len(verdicts), "rejected": rejected}))
    else:
        for one in verdicts:
            click.echo(f"event {one.index} ({printable(one.message_id or 'without a messageId')}): {one.reason}")
        click.echo(f"stored: {count - len(verdicts)} of {count}")
    if verdicts:
        raise Refused(f"{len(verdicts)} of {count} were refused")


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--property or --trait")
    try:
        return name, msgspec.json.decode(value)  # json.loads takes NaN and 1e999, which no event can carry
    except (ValueError, msgspec.DecodeError, RecursionError):
        return name, value
