"""`mixpanel`: events to `/import`, people to `/engage`, groups to `/groups` (developer.mixpanel.com/reference).

Identities are those of Mixpanel's Simplified ID Merge: `$device_id` and `$user_id` go along, and `distinct_id` is the
user or `$device:` and the device. `$insert_id`, by which Mixpanel recognises repetitions, is made of the message id. In
strict mode `/import` names the records that it refuses and stores the others. `alias` has no counterpart there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from sluicegate.destinations.answers import json_of, outcome_of
from sluicegate.destinations.fields import (
    PLACEHOLDERS,
    at,
    each,
    encoded,
    event_name,
    group_traits,
    identifier,
    properties,
    renamed,
    text,
    time_ms,
    traits,
    uuid_of,
    words,
)
from sluicegate.destinations.http import Answer
from sluicegate.destinations.outcome import Outcome
from sluicegate.destinations.plan import Broken, Foreign, Numbered, Plan, Request, packs
from sluicegate.destinations.vendor import VendorDestination, Verdict
from sluicegate.destinations.vendor_settings import MixpanelSettings
from sluicegate.errors import CredentialsRefused, Rejected

CONTEXT = {
    "ip": "ip",
    "page.url": "$current_url",
    "page.referrer": "$referrer",
    "screen.width": "$screen_width",
    "screen.height": "$screen_height",
    "screen.density": "$screen_dpi",
    "os.name": "$os",
    "os.version": "$os_version",
    "device.manufacturer": "$manufacturer",
    "device.model": "$model",
    "device.name": "$device",
    "network.carrier": "$carrier",
    "network.wifi": "$wifi",
    "app.version": "$app_version_string",
    "app.build": "$app_build_number",
    "library.name": "mp_lib",
    "library.version": "$lib_version",
    "campaign.name": "utm_campaign",
    "campaign.source": "utm_source",
    "campaign.medium": "utm_medium",
    "campaign.term": "utm_term",
    "campaign.content": "utm_content",
}
PEOPLE = {
    "email": "$email",
    "firstName": "$first_name",
    "firstname": "$first_name",
    "lastName": "$last_name",
    "lastname": "$last_name",
    "name": "$name",
    "username": "$username",
    "phone": "$phone",
    "avatar": "$avatar",
    "createdAt": "$created",
}
"""Traits to Mixpanel's own profile properties; others keep their names."""
NO_IDS = PLACEHOLDERS | words("anon <nil> lmy47d")
"""Values of `distinct_id` and `$insert_id` that Mixpanel refuses (docs.mixpanel.com/reference/import-events)."""
ENGAGE = "/engage?verbose=1&ip=0"
"""With `ip=0` a profile without an address is not placed where the request comes from
(docs.mixpanel.com/docs/tracking-best-practices/geolocation)."""
OLDEST_MS, NEWEST_MS = 365 * 86_400_000, 3_600_000
"""The first is 1971-01-01; the second how far ahead an event may be."""
MAX_EVENTS, MAX_BYTES, MAX_PROFILES = 2_000, 2 * 1024 * 1024, 200
MAX_EVENT_BYTES, MAX_PROPERTIES, MAX_NAME_CHARS = 1024 * 1024, 255, 255
_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")


class Mixpanel(VendorDestination):
    """Posts events and profiles, each kind in requests of its own."""

    settings_type = MixpanelSettings
    settings: MixpanelSettings

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """Requests for events, then for people, then for groups."""
        plan = Plan()
        records = list(each(plan, batch, lambda one: self._record(one, now_ms)))
        query = {"strict": "1"} | ({"project_id": self.settings.project_id} if self.settings.project_id else {})
        for path, n_most in ((f"/import?{urlencode(query)}", MAX_EVENTS), (ENGAGE, MAX_PROFILES)):
            mine = [(index, record) for index, (kind, record) in records if path.startswith(kind)]
            self._add(plan, path, mine, n_most)
        groups = [(index, record) for index, (kind, record) in records if kind == "/groups"]
        self._add(plan, "/groups?verbose=1", groups, MAX_PROFILES)
        return plan

    def judge(self, answer: Answer, request: Request) -> Verdict:
        """By Mixpanel's answers: 400 with `failed_records`; `/engage` says `status: 0` with a 200."""
        said = json_of(answer)
        failed = said.get("failed_records")
        if answer.status == 400 and isinstance(failed, list) and failed:
            bad = _failed_records(failed, request)
            if bad:
                return Outcome(bad, status=400, response=answer.beginning())
        if answer.status == 200 and said.get("status") == 0 and said.get("error"):
            return Rejected(f"Mixpanel: {said['error']}").answered(200, answer.beginning())
        if answer.status == 400 and "project" in str(said.get("error")).lower() and "token" in str(said).lower():
            refused = CredentialsRefused(f"credentials: Mixpanel answered 400: {answer.excerpt}")
            return refused.answered(400, answer.beginning())
        return outcome_of(answer, self.base_url)

    def _add(self, plan: Plan, path: str, records: list[tuple[int, bytes]], n_most: int) -> None:
        for indices, array in packs(records, max_records=n_most, max_bytes=MAX_BYTES):
            compressed = path.startswith("/import")  # the others know no gzip (docs.mixpanel.com/reference/profile-set)
            plan.requests.append(Request(self.base_url + path, array, indices, self._headers(), gzip=compressed))

    def _headers(self) -> dict[str, str]:
        settings = self.settings
        secret = settings.service_account.reveal() if settings.service_account else None
        if secret is None:
            assert settings.api_secret is not None
            secret = settings.api_secret.reveal() + ":"
        return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}

    def _record(self, one: Numbered, now_ms: int) -> tuple[str, bytes]:
        """The path that an event goes to, and its record."""
        kind = one.event.get("type")
        if kind == "identify":
            return "/engage", encoded(self._profile(one.event), max_bytes=MAX_EVENT_BYTES)
        if kind == "group" and self.settings.group_key:
            return "/groups", encoded(self._group(one.event), max_bytes=MAX_EVENT_BYTES)
        if kind not in ("track", "page", "screen"):
            raise Foreign
        record = {"event": _name(one.event), "properties": self._properties(one, now_ms)}
        return "/import", encoded(record, max_bytes=MAX_EVENT_BYTES)

    def _properties(self, one: Numbered, now_ms: int) -> dict[str, Any]:
        event = one.event
        context = event.get("context")
        found = renamed(context, CONTEXT) if isinstance(context, dict) else {}
        found |= properties(event)
        for name in ("name", "category"):
            if event.get("type") != "track" and (value := text(event, name)):
                found[name] = value
        found |= identity(event)
        at_ms = time_ms(event)
        if at_ms is None:
            raise Broken("no time: the event has no timestamp")
        if at_ms < OLDEST_MS:
            raise Broken("the event is of before 1971")
        if at_ms > now_ms + NEWEST_MS:
            raise Broken("the event is more than an hour ahead")
        found |= {"time": at_ms, "$insert_id": insert_id(one.message_id), "token": self.settings.token.reveal()}
        if len(found) > MAX_PROPERTIES:
            raise Broken(f"more than {MAX_PROPERTIES} properties")
        return found

    def _profile(self, event: dict[str, Any]) -> dict[str, Any]:
        given = traits(event)
        own = renamed({k: v for k, v in given.items() if k in PEOPLE}, PEOPLE)
        people = {**{k: v for k, v in given.items() if k not in PEOPLE}, **own}
        if not people:
            raise Foreign
        keys = {"$token": self.settings.token.reveal(), "$distinct_id": identity(event)["distinct_id"]}
        found: dict[str, Any] = {**keys, "$set": people}
        if ip := at(event, "context.ip"):
            found["$ip"] = ip
        if (at_ms := time_ms(event)) is not None:
            found["$time"] = at_ms // 1_000
        return found

    def _group(self, event: dict[str, Any]) -> dict[str, Any]:
        group = text(event, "groupId")
        if not group:
            raise Broken("the group has no groupId")
        keys = {"$token": self.settings.token.reveal(), "$group_key": self.settings.group_key, "$group_id": group}
        return {**keys, "$set": group_traits(event)}


def identity(event: dict[str, Any]) -> dict[str, str]:
    """`distinct_id` with `$user_id` and `$device_id`; raises `Broken` when there is neither."""
    user, device = (identifier(event, name, refused=NO_IDS) for name in ("userId", "anonymousId"))
    found = {}
    if device:
        found = {"$device_id": device, "distinct_id": f"$device:{device}"}
    if user:
        found |= {"$user_id": user, "distinct_id": user}
    if not found:
        raise Broken("no distinct_id: the event has neither a userId nor an anonymousId that Mixpanel takes")
    return found


def insert_id(message_id: str) -> str:
    """The message id if Mixpanel takes it as `$insert_id` (36 letters, digits and -, no placeholder), else its UUID."""
    found = message_id if _INSERT_ID.fullmatch(message_id) else uuid_of(message_id)
    is_placeholder = found.lower() in NO_IDS or not found.strip("0-")
    return uuid_of(f"message {found}") if is_placeholder else found


def _name(event: dict[str, Any]) -> str:
    if event.get("type") == "page":
        return "Loaded a Page"
    if event.get("type") == "screen":
        return "Loaded a Screen"
    name = event_name(event)
    if len(name) > MAX_NAME_CHARS:
        raise Broken(f"the event name has more than {MAX_NAME_CHARS} characters")
    return name


def _failed_records(failed: list[Any], request: Request) -> dict[int, str]:
    bad = {}
    for one in failed:
        place = one.get("index") if isinstance(one, dict) else None
        if isinstance(place, int) and 0 <= place < len(request.indices):
            bad[request.indices[place]] = f"Mixpanel: {one.get('field', '')}: {one.get('message', 'refused')}"
    return bad
