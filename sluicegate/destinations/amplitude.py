"""`amplitude`: the HTTP V2 API (amplitude.com/docs/apis/analytics/http-v2).

`insert_id` is the message id, by which Amplitude recognises repetitions for 7 days. A 400 that lists events refuses the
whole request for them: they become dead letters, and the others go again. `alias` has no counterpart outside of
Amplitude's paid user mapping.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from sluicegate.destinations.answers import json_of, outcome_of
from sluicegate.destinations.fields import (
    at,
    each,
    encoded,
    event_name,
    identifier,
    number,
    plain_name,
    products,
    properties,
    renamed,
    text,
    time_ms,
    traits,
)
from sluicegate.destinations.http import Answer
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Broken, Foreign, Numbered, Plan, Request, packs
from sluicegate.destinations.vendor import VendorDestination, Verdict
from sluicegate.destinations.vendor_settings import AmplitudeSettings
from sluicegate.errors import CredentialsRefused, Retry

CONTEXT = {
    "app.version": "app_version",
    "os.name": "os_name",
    "os.version": "os_version",
    "device.brand": "device_brand",
    "device.manufacturer": "device_manufacturer",
    "device.model": "device_model",
    "device.advertisingId": "adid",
    "network.carrier": "carrier",
    "locale": "language",
    "ip": "ip",
    "location.country": "country",
    "location.region": "region",
    "location.city": "city",
    "location.latitude": "location_lat",
    "location.longitude": "location_lng",
    "library.name": "library",
}
CAMPAIGN = {
    "name": "utm_campaign",
    "source": "utm_source",
    "medium": "utm_medium",
    "term": "utm_term",
    "content": "utm_content",
}
PLATFORMS = {"ios": "iOS", "android": "Android"}
PRODUCT_EVENT = "Product Purchased"
ORDER_EVENTS = frozenset(("order completed", "order refunded", "completed order"))
LISTS_OF_BAD = ("events_with_invalid_fields", "events_with_missing_fields", "events_with_invalid_id_lengths")
"""Members of a 400: a field, and the places of the events in which it is wrong."""
MAX_EVENTS, MAX_BYTES = 1_000, 950 * 1024
MAX_PRODUCT_BYTES = 256 * 1024
"""Of the events that the products of one order become; some hundreds of them."""
THROTTLED_WAIT_S = 30.0
_SESSION = re.compile(r"[0-9]{1,18}")
"""Fits 64 bits; milliseconds have 13 digits."""
_encode = msgspec.json.Encoder().encode


class Throttled(Retry):
    """Amplitude has nothing of a request, because the people of these events send too much."""

    def __init__(self, reason: str, indices: frozenset[int]) -> None:
        super().__init__(reason)
        self.indices = indices


class Amplitude(VendorDestination):
    """Posts events to `/2/httpapi`."""

    settings_type = AmplitudeSettings
    settings: AmplitudeSettings

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """One request, more when the events are large."""
        plan = Plan()
        url = self.base_url + "/2/httpapi"
        options = {"min_id_length": self.settings.min_id_length}
        head = _encode({"api_key": self.settings.api_key.reveal(), "options": options})
        records = [(index, record) for index, several in each(plan, batch, self._encoded) for record in several]
        for indices, array in packs(records, max_records=MAX_EVENTS, max_bytes=MAX_BYTES):
            plan.requests.append(Request(url, head[:-1] + b',"events":' + array + b"}", indices))
        return plan

    def judge(self, answer: Answer, request: Request) -> Verdict:
        """By Amplitude's codes: 400 with lists of events, 429 with throttled users."""
        said = json_of(answer)
        if answer.status == 400 and (bad := _bad_events(said, request)):
            again = frozenset(request.indices).difference(bad)
            return Outcome(bad, again=again, status=400, response=answer.beginning())
        about_key = said.get("missing_field") == "api_key" or "api key" in str(said.get("error")).lower()
        if answer.status == 400 and about_key:
            refused = CredentialsRefused(f"credentials: Amplitude answered 400: {answer.excerpt}")
            return refused.answered(400, answer.beginning())
        verdict = outcome_of(answer, self.base_url)
        if not isinstance(verdict, Retry) or answer.status != 429:
            return verdict
        if throttled := frozenset(_named(said.get("throttled_events"), request)):
            return Throttled(str(verdict), throttled).answered(429, answer.beginning())
        if verdict.after_s is None:
            verdict.after_s = THROTTLED_WAIT_S
        return verdict

    def _send(self, request: Request, timeout_s: float) -> Verdict:
        """Send it; where Amplitude throttles some of its people, send what others did by itself, at once."""
        deadline = time.monotonic() + timeout_s
        first = super()._send(request, timeout_s)
        if not isinstance(first, Throttled):
            return first
        others = _without(first.indices, request)
        second = super()._send(others, deadline - time.monotonic()) if others.indices else first
        if second is None:
            return Outcome(again=first.indices, reason=str(first), status=429, response=first.response)
        if isinstance(second, Outcome):
            return replace(second, again=second.again | first.indices)
        return Retry(str(first)).answered(429, first.response) if isinstance(second, Throttled) else second

    def _encoded(self, one: Numbered) -> list[bytes]:
        """The records of an event; each of its products says again whose it is, so that small ones may become much."""
        made: list[bytes] = []
        n_bytes = 0
        for place, record in enumerate(self._records(one)):
            made.append(encoded(record, max_bytes=MAX_BYTES))
            n_bytes += len(made[-1]) if place else 0
            if n_bytes > MAX_PRODUCT_BYTES:
                raise Broken(f"its products are more than {MAX_PRODUCT_BYTES} bytes; product_events = false sends none")
        return made

    def _records(self, one: Numbered) -> Iterator[dict[str, Any]]:
        event = one.event
        base = self._base(event)
        yield {**base, **self._named(event), "insert_id": one.message_id}
        is_order = event.get("type") == "track" and plain_name(event_name(event)) in ORDER_EVENTS
        if self.settings.product_events and is_order:
            for place, product in enumerate(products(event), 1):
                own = {"event_type": PRODUCT_EVENT, "event_properties": product}
                yield {**base, **own, "insert_id": f"{one.message_id}-{place}"}

    def _base(self, event: dict[str, Any]) -> dict[str, Any]:
        context = event.get("context")
        context = context if isinstance(context, dict) else {}
        found = renamed(context, CONTEXT)
        found["platform"] = PLATFORMS.get(str(at(context, "device.type")).lower(), "Web")
        for name, places in (("user_id", ("userId",)), ("device_id", ("anonymousId", "context.device.id"))):
            if value := identifier(event, *places):
                if len(value) < self.settings.min_id_length:
                    raise Broken(f"{name} has fewer than {self.settings.min_id_length} characters")
                found[name] = value
        if "user_id" not in found and "device_id" not in found:
            raise Broken(
                "neither user_id nor device_id: the event has no userId and no anonymousId that Amplitude takes"
            )
        if (at_ms := time_ms(event)) is not None:
            found["time"] = at_ms
        session = text(event, "integrations.Amplitude.session_id", "context.sessionId")
        if session and _SESSION.fullmatch(session):
            found["session_id"] = int(session)
        return found

    def _named(self, event: dict[str, Any]) -> dict[str, Any]:
        kind = event.get("type")
        campaign = at(event, "context.campaign")
        user = renamed(campaign, CAMPAIGN) if isinstance(campaign, dict) else {}
        if kind == "identify":
            return {"event_type": "$identify", "user_properties": {**user, **traits(event)}}
        if kind == "group" and self.settings.group_type:
            groups = {self.settings.group_type: text(event, "groupId")}
            return {"event_type": "$identify", "groups": groups, "user_properties": groups}
        found: dict[str, Any] = {"event_properties": properties(event)}
        if user:
            found["user_properties"] = {"$set": user, "$setOnce": {f"initial_{k}": v for k, v in user.items()}}
        if kind == "track":
            return {"event_type": event_name(event), **found, **_money(properties(event))}
        if kind not in ("page", "screen"):
            raise Foreign
        name = text(event, "name", "properties.title", "properties.path")
        return {"event_type": f"Viewed {name}" if name else f"Viewed a {kind.title()}", **found}


def _money(source: dict[str, Any]) -> dict[str, Any]:
    """Amplitude's revenue fields."""
    revenue, price = number(source.get("revenue")), number(source.get("price"))
    found: dict[str, Any] = {}
    if revenue is not None:
        found = {"revenue": revenue, "revenueType": source.get("revenueType") or "Purchase"}
        if price is not None:
            found |= {"price": price, "quantity": int(number(source.get("quantity")) or 1)}
    if found and (product := text(source, "product_id", "productId")):
        found["productId"] = product
    return found


def _bad_events(said: dict[str, Any], request: Request) -> dict[int, str]:
    """The events that a 400 names, with the rule that they break."""
    bad: dict[int, str] = {}
    for member in LISTS_OF_BAD:
        fields = said.get(member)
        for field, places in fields.items() if isinstance(fields, dict) else ():
            rule = f"Amplitude: {member.removeprefix('events_with_').replace('_', ' ')}: {field}"
            for index in _named(places, request):
                bad.setdefault(index, rule)
    for index in _named(said.get("silenced_events"), request):
        bad.setdefault(index, "Amplitude: silenced")
    return bad


def _named(places: object, request: Request) -> list[int]:
    """The events whose records are at these places of a request."""
    found = [one for one in places if isinstance(one, int)] if isinstance(places, list) else []
    return [request.indices[place] for place in found if 0 <= place < len(request.indices)]


def _without(indices: frozenset[int], request: Request) -> Request:
    """The request without what there is of these events in it."""
    body: dict[str, Any] = msgspec.json.decode(request.body)
    kept = [place for place, index in enumerate(request.indices) if index not in indices]
    body["events"] = [body["events"][place] for place in kept]
    return replace(request, body=_encode(body), indices=[request.indices[place] for place in kept])
