"""`posthog`: PostHog's batch endpoint (posthog.com/docs/api/capture).

Each event has a `uuid` made of its message id, by which PostHog recognises repetitions. Events of people without a user
id make no person profile (`$process_person_profile`), which is what PostHog counts as anonymous events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sluicegate.acceptance.times import write_ms
from sluicegate.destinations.answers import outcome_of
from sluicegate.destinations.fields import (
    PLACEHOLDERS,
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
from sluicegate.destinations.plan import Broken, Foreign, Numbered, Plan, Request, packs
from sluicegate.destinations.vendor import VendorDestination, Verdict
from sluicegate.destinations.vendor_settings import PosthogSettings
from sluicegate.errors import Retry

EVENTS = {
    "alias": "$create_alias",
    "group": "$groupidentify",
    "identify": "$identify",
    "page": "$pageview",
    "screen": "$screen",
}
"""Event type to PostHog's own events; a track call keeps its name."""
NEED_PROFILES = frozenset(("alias", "group", "identify"))
"""Types of events that make a profile (posthog.com/docs/data/anonymous-vs-identified-events); PostHog drops them when
they ask for none (`invalid_event_when_process_person_profile_is_false`, in the source of its ingestion)."""
CONTEXT = {
    "page.url": "$current_url",
    "page.path": "$pathname",
    "page.referrer": "$referrer",
    "page.title": "title",
    "ip": "$ip",
    "userAgent": "$raw_user_agent",
    "locale": "$locale",
    "timezone": "$timezone",
    "library.name": "$lib",
    "library.version": "$lib_version",
    "screen.width": "$screen_width",
    "screen.height": "$screen_height",
    "os.name": "$os",
    "os.version": "$os_version",
    "app.name": "$app_name",
    "app.version": "$app_version",
    "app.build": "$app_build",
    "app.namespace": "$app_namespace",
    "device.id": "$device_id",
    "device.manufacturer": "$device_manufacturer",
    "device.model": "$device_model",
    "device.name": "$device_name",
    "device.type": "$device_type",
    "network.carrier": "$network_carrier",
    "campaign.name": "utm_campaign",
    "campaign.source": "utm_source",
    "campaign.medium": "utm_medium",
    "campaign.term": "utm_term",
    "campaign.content": "utm_content",
}
NO_IDS = PLACEHOLDERS | words("guest distinctid distinct_id id not_authenticated email nan [object object]")
"""Generic ids, of which PostHog drops the events (posthog.com/docs/data/ingestion-warnings)."""
MAX_EVENT_BYTES = 900_000
"""Of the 1 MB that PostHog keeps (posthog.com/docs/data/ingestion-warnings), with room for what it adds."""
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ID_CHARS = 200
QUOTA_WAIT_S = 600.0
"""PostHog names no time after which an exceeded quota ends."""


class Posthog(VendorDestination):
    """Posts events to `/batch/`."""

    settings_type = PosthogSettings
    settings: PosthogSettings

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """One request, more when the events are large."""
        plan = Plan()
        url = self.base_url + "/batch/"
        head = msgspec.json.encode({"api_key": self.settings.api_key.reveal(), **self._options()})
        records = list(each(plan, batch, self._record))
        for indices, array in packs(records, max_records=1_000, max_bytes=MAX_BODY_BYTES):
            plan.requests.append(Request(url, head[:-1] + b',"batch":' + array + b"}", indices, gzip=True))
        return plan

    def judge(self, answer: Answer, request: Request) -> Verdict:
        """Like others, but a 200 may say that the quota is used up and nothing was taken."""
        if answer.status == 200 and b'"quota_limited"' in answer.body and b'"events"' in answer.body:
            said = Retry("PostHog's quota for events is used up", after_s=QUOTA_WAIT_S)
            return said.answered(answer.status, answer.beginning())
        return outcome_of(answer, self.base_url)

    def _options(self) -> dict[str, Any]:
        return {"historical_migration": True} if self.settings.historical_migration else {}

    def _record(self, one: Numbered) -> bytes:
        event = one.event
        kind = event.get("type")
        name = event_name(event) if kind == "track" else EVENTS.get(str(kind))
        if name is None:
            raise Foreign
        user_id, anonymous_id = (identifier(event, name, refused=NO_IDS) for name in ("userId", "anonymousId"))
        distinct_id = user_id or anonymous_id
        if not distinct_id:
            raise Broken("no distinct_id: the event has neither a userId nor an anonymousId that PostHog takes")
        if len(distinct_id) > MAX_ID_CHARS:
            raise Broken(f"the distinct_id has more than {MAX_ID_CHARS} characters")
        record = {
            "event": name[:MAX_ID_CHARS],
            "distinct_id": distinct_id,
            "uuid": uuid_of(one.message_id),
            "properties": self._properties(event, distinct_id, anonymous=user_id is None),
        }
        if (at_ms := time_ms(event)) is not None:
            record["timestamp"] = write_ms(at_ms)
        return encoded(record, max_bytes=MAX_EVENT_BYTES)

    def _properties(self, event: dict[str, Any], distinct_id: str, *, anonymous: bool) -> dict[str, Any]:
        context = event.get("context")
        found = renamed(context, CONTEXT) if isinstance(context, dict) else {}
        found |= properties(event)
        found["distinct_id"] = distinct_id
        kind, anonymous_id = event.get("type"), identifier(event, "anonymousId", refused=NO_IDS)
        if anonymous and kind not in NEED_PROFILES:
            found["$process_person_profile"] = False
        # Without an address it looks up that of the request, which is ours (posthog.com/docs/cdp/geoip-enrichment).
        if self.settings.geoip_disable or "$ip" not in found:
            found["$geoip_disable"] = True
        if kind == "identify":
            found["$set"] = traits(event)
            if anonymous_id and anonymous_id != distinct_id:
                found["$anon_distinct_id"] = anonymous_id
        elif kind == "alias":
            found["alias"] = identifier(event, "previousId", refused=NO_IDS)
            if not found["alias"]:
                raise Broken("the alias has no previousId that PostHog takes")
        elif kind == "screen" and (screen := text(event, "name")):
            found["$screen_name"] = screen
        self._add_group(event, found)
        return found

    def _add_group(self, event: dict[str, Any], found: dict[str, Any]) -> None:
        group = text(event, "groupId", "context.groupId")
        if event.get("type") == "group":
            if not group:
                raise Broken("the group has no groupId")
            found |= {"$group_type": self.settings.group_type, "$group_key": group}
            found["$group_set"] = group_traits(event)
        elif group:
            found["$groups"] = {self.settings.group_type: group}
