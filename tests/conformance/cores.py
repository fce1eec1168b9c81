"""The agreed core of what vendors receive: endpoint, event name, ids, time, money, items; of one vendor each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

Core = dict[str, Any]
Extract = Callable[[str, Any], Iterator[Core]]


def number(value: Any) -> Any:
    """Numbers that were written as texts, as numbers."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def seconds(value: Any) -> Any:
    """A time in any of the forms that vendors take, in whole Unix seconds."""
    if isinstance(value, str) and not value.isdigit():
        return int(datetime.fromisoformat(value).timestamp())
    if value is None:
        return None
    value = int(value)
    return value // 10**6 if value > 10**14 else value // 1_000 if value > 10**11 else value


def picked(record: Any, /, **places: str) -> Core:
    """Members of an object under names of ours; what is not there is left out."""
    found = {}
    for name, place in places.items():
        value = record
        for step in place.split("/"):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found


def money(record: Any, /, **places: str) -> Core:
    return {name: number(value) for name, value in picked(record, **places).items()}


def items(products: Any, *keys: str) -> list[list[Any]]:
    return [[number(one.get(key)) for key in keys] for one in products or [] if isinstance(one, dict)]


def timed(source: Any, place: str) -> Core:
    found = picked(source, time=place)
    return {"time": seconds(found["time"])} if found else {}


def segment(url: str, body: Any) -> Iterator[Core]:
    for event in body["batch"]:
        yield picked(
            event,
            kind="type",
            event="event",
            user="userId",
            visitor="anonymousId",
            properties="properties",
            traits="traits",
        )


def webhook(url: str, body: Any) -> Iterator[Core]:
    if body:
        yield from map(dict, body["batch"] if set(body) == {"batch", "sentAt"} else [body])


def ga4(url: str, body: Any) -> Iterator[Core]:
    for event in body["events"]:
        params = event.get("params", {})
        core = {"event": event["name"], **picked(body, client="client_id", user="user_id")}
        core |= timed(event, "timestamp_micros") or timed(body, "timestamp_micros")
        core |= picked(params, currency="currency", order="transaction_id")
        core |= money(params, value="value", tax="tax", shipping="shipping")
        if params.get("items"):
            core["items"] = items(params["items"], "item_id", "item_name", "price", "quantity")
        yield core


def posthog(url: str, body: Any) -> Iterator[Core]:
    for event in body.get("batch", [body]):
        own = event.get("properties", {})
        core = {"event": event["event"], **timed(event, "timestamp")}
        core["id"] = event.get("distinct_id") or own.get("distinct_id")
        if set_ := event.get("$set") or own.get("$set"):
            core["traits"] = set_
        core |= picked(own, url="$current_url", currency="currency", order="order_id", products="products")
        yield {**core, **money(own, revenue="revenue", total="total", tax="tax", shipping="shipping")}


def amplitude(url: str, body: Any) -> Iterator[Core]:
    if not isinstance(body, dict):
        return
    for event in body.get("events", []):
        core = picked(event, event="event_type", user="user_id", device="device_id", insert_id="insert_id")
        core |= timed(event, "time")
        core |= money(event, revenue="revenue")
        yield {**core, **picked(event, properties="event_properties/order_id", product="event_properties/price")}


def mixpanel(url: str, body: Any) -> Iterator[Core]:
    if isinstance(body, str):
        body = msgspec.json.decode(parse_qs(body)["data"][0])
    for record in body if isinstance(body, list) else [body]:
        own = record.get("properties", {})
        core = {"endpoint": urlsplit(url).path.strip("/"), **picked(record, event="event")}
        core |= picked(own, id="distinct_id", insert_id="$insert_id", currency="currency", products="products")
        core |= picked(record, id="$distinct_id", traits="$set", group="$group_id")
        yield {**core, **timed(own, "time"), **money(own, revenue="revenue", total="total", tax="tax")}


def meta(url: str, body: Any) -> Iterator[Core]:
    for event in body["data"]:
        event = msgspec.json.decode(event) if isinstance(event, str) else event
        core = picked(event, event="event_name", event_id="event_id", source="action_source", url="event_source_url")
        core |= timed(event, "event_time")
        user = event.get("user_data", {})
        core |= picked(
            user, em="em", ph="ph", fn="fn", ln="ln", db="db", ct="ct", st="st", zp="zp", external="external_id"
        )
        core |= picked(user, ip="client_ip_address", agent="client_user_agent", fbc="fbc", fbp="fbp")
        custom = event.get("custom_data", {})
        core |= {**picked(custom, currency="currency"), **money(custom, value="value")}
        if custom.get("contents"):
            core["items"] = items(custom["contents"], "id", "quantity", "item_price")
        yield core
