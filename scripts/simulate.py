"""The `simulate` command: what a destination would send for events, without sending it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from sluicegate.acceptance.times import write_ms
from sluicegate.config.model import DestinationConfig, OnDenied
from sluicegate.delivery.mapped import FILTERED
from sluicegate.delivery.plugin import Plugin, make_plugin
from sluicegate.destinations.base import Batch
from sluicegate.destinations.plan import Plan, Plans, Request
from sluicegate.destinations.vendor import headers_of
from sluicegate.errors import Refused
from sluicegate.paths import DataDir
from sluicegate.redaction import REDACTABLE, Redactor, redacted
from sluicegate.routing import Decision
from sluicegate.scripts.input import read_all, read_events
from sluicegate.scripts.options import find_config, json_option, system_options

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
_EVENT_TYPE = "event type is not wanted"
_EXAMPLE_SECRET = b"simulated"


@click.command()
@click.argument("destination")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--refused", is_flag=True, help="As if the consent that it requires had been refused.")
@json_option
@system_options
def simulate(
    destination: str, file: Any, refused: bool, as_json: bool, config_path: Path | None, data_dir: Path | None
) -> None:
    """Show the requests that DESTINATION would send for the events in FILE or from standard input.

    Nothing is sent and nothing needs to run. The input is an event as JSON, several as JSON Lines or a JSON array, or a
    body as clients post it ({"batch": [...]}). Changes of [destinations.ID.map] are made; consent is not decided,
    unless --refused says how: what is left then goes out where on_denied = "redact", and nothing does elsewhere.
    """
    config = find_config(config_path, data_dir)
    if config is None:
        raise click.UsageError("no configuration file; name one with --config, or write one with `sluicegate init`")
    if destination not in config.destinations:
        raise Refused(f"no destination {destination!r} in it; there are: {', '.join(config.destinations) or 'none'}")
    events = read_events(read_all(file))
    chosen = config.destinations[destination]
    plugin, now_ms = make_plugin(chosen, DataDir(config.data_dir)), time.time_ns() // 1_000_000
    found = simulated(chosen, plugin, events, now_ms=now_ms, refused=refused)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else text_of(found))


def simulated(
    chosen: DestinationConfig, plugin: Plugin, events: list[dict[str, Any]], *, now_ms: int, refused: bool = False
) -> dict[str, Any]:
    """What would become of the events: requests, and those that are rejected or skipped, by index in the input.

    With `refused` they are redacted where the destination has them so; their message ids are examples then.
    """
    events = [_without_person(event, chosen) or event if refused else event for event in events]
    skipped: dict[int, str] = {}
    kept: list[int] = []
    for index, event in enumerate(events):
        reason = _left_out(event, chosen, plugin, refused=refused)
        if reason is not None:
            skipped[index] = reason
            continue
        if plugin.changes is not None:
            plugin.changes.apply(event)
        event.setdefault("messageId", f"simulated-{index}")
        event.setdefault("timestamp", write_ms(now_ms))
        kept.append(index)
    shown: list[Any] = []
    rejected: dict[int, str] = {}
    for start in range(0, len(kept), plugin.limits.max_events):
        places = kept[start : start + plugin.limits.max_events]
        plan = _plan(plugin, _batch(places, [events[place] for place in places]), now_ms)
        shown += [_shown(request, places, plugin) for request in plan.requests]
        rejected |= {places[index]: reason for index, reason in plan.rejected.items()}
        skipped |= {places[index]: reason for index, reason in plan.skipped.items()}
    return {
        "destination": chosen.id,
        "type": chosen.type,
        "requests": shown,
        "rejected": {str(index): rejected[index] for index in sorted(rejected)},
        "skipped": {str(index): skipped[index] for index in sorted(skipped)},
    }


def _left_out(event: dict[str, Any], chosen: DestinationConfig, plugin: Plugin, *, refused: bool) -> str | None:
    """Why the event would not go to the destination; None when it would."""
    if chosen.events and event.get("type") not in chosen.events:
        return _EVENT_TYPE
    if refused and not _goes_redacted(event, chosen):
        return str(Decision.CONSENT_DENIED)
    if plugin.changes is not None and not plugin.changes.wants(event):
        return FILTERED
    return None


def _batch(places: list[int], events: list[dict[str, Any]]) -> Batch:
    return Batch(places, [str(event["messageId"]) for event in events], [msgspec.json.encode(one) for one in events])


def _goes_redacted(event: dict[str, Any], chosen: DestinationConfig) -> bool:
    return chosen.on_denied is OnDenied.REDACT and str(event.get("type")) in REDACTABLE


def _without_person(event: dict[str, Any], chosen: DestinationConfig) -> dict[str, Any] | None:
    """The event as it goes when consent was refused, None when it does not go."""
    if not _goes_redacted(event, chosen):
        return None
    message_id = Redactor(_EXAMPLE_SECRET, chosen.id).message_id(str(event.get("messageId", "")))
    return {**redacted(event), "messageId": message_id}


def _plan(plugin: Plugin, batch: Batch, now_ms: int) -> Plan:
    if isinstance(plugin.instance, Plans):
        return plugin.instance.preview(batch, now_ms)
    # A type that does not say what it sends: the events as `deliver` gets them.
    body = b"[" + batch.joined() + b"]"
    return Plan([Request("", body, range(len(batch)))] if len(batch) else [])


def _shown(request: Request, places: list[int], plugin: Plugin) -> dict[str, Any]:
    events = [places[index] for index in request.indices]
    body = _decoded(_masked(plugin, request.body.decode()))
    if not request.url:
        return {"events": events, "body": body}
    headers = {
        name: "***" if name.lower() in SECRET_HEADERS else _masked(plugin, value)
        for name, value in {"Host": urlsplit(request.url).netloc, **headers_of(request)}.items()
    }
    return {
        "method": "POST",
        "url": _masked(plugin, request.url),
        "headers": headers,
        "events": events,
        "body": body,
    }


def _decoded(text: str) -> Any:
    """A body for showing; as a text when it is no JSON any more, because a number in it is a secret as well."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _masked(plugin: Plugin, text: str) -> str:
    return plugin.mask(text, max_chars=len(text) + 100)


def text_of(found: dict[str, Any]) -> str:
    """The same for people."""
    blocks = []
    for request in found["requests"]:
        head = [f"# events {', '.join(map(str, request['events']))}"]
        if "url" in request:
            head.append(f"{request['method']} {request['url']}")
            head += [f"{name}: {value}" for name, value in request["headers"].items()]
        else:
            head.append(f"# what the type {found['type']} gets or stores")
        blocks.append("\n".join([*head, "", json.dumps(request["body"], indent=2, ensure_ascii=False)]))
    for outcome in ("rejected", "skipped"):
        blocks += [f"event {index} {outcome}: {reason}" for index, reason in found[outcome].items()]
    return "\n\n".join(blocks) or "no events"
