"""Where we differ from an oracle on purpose, by destination: by a rule of the vendor's, a setting, or a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.conformance.runner import Deviation


def is_reason(*beginnings: str) -> Any:
    """A test of what we have: that we refuse the event by a reason that begins like this."""
    return lambda expected, ours: isinstance(ours, str) and any(one in ours for one in beginnings)


def is_zeros(expected: Any, ours: Any) -> bool:
    return isinstance(expected, str) and not expected.strip("0-")


def sends(expected: Any, ours: Any) -> bool:
    """The oracle refuses or drops the event, we send it."""
    return bool(expected is True)


REFUSED_BY_ORACLE = "the oracle has no counterpart for these kinds of events, or wants another subscription for them"

DEVIATIONS: Mapping[str, Sequence[Deviation]] = {
    "segment": (
        Deviation(
            "rule", "user", "userId is the user's, anonymousId the visitor's (segment.com/docs/connections/spec)"
        ),
        Deviation("rule", "traits", "traits of a track call are in context.traits (segment.com/docs/connections/spec)"),
    ),
    "webhook": (
        Deviation("setting", "refused", "webhookMethod GET or DELETE: Sluicegate posts", when=sends),
        Deviation("choice", "context", "the oracle copies request_ip into context.ip; events go out unchanged"),
    ),
    "ga4": (
        Deviation(
            "rule",
            "*",
            "names have at most 40 letters, digits and _ and are not reserved, events are at most 72 h old "
            "(developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events#limitations)",
            when=is_reason("an event name", "the event name", "older than", "minutes ahead"),
        ),
        Deviation(
            "rule",
            "client",
            "client_id is the browser's, user_id the user's (.../protocol/ga4/reference)",
            when=lambda expected, ours: str(expected).startswith("user") and ours is not None,
        ),
        Deviation(
            "rule",
            "client",
            "client_id is the one of the _ga cookie where the client tells it (.../protocol/ga4/sending-events)",
            when=lambda expected, ours: ours == "client_id",
        ),
        Deviation(
            "rule",
            "event time client user",
            "client_id is required, and no other id stands for it (.../protocol/ga4/reference)",
            when=is_reason("no client_id"),
        ),
        Deviation(
            "rule",
            "currency value",
            "value counts with its currency only, which nobody may make up (.../events)",
            when=lambda expected, ours: ours is None,
        ),
        Deviation("rule", "value", "value is the sum of price times quantity (.../protocol/ga4/reference/events)"),
        Deviation(
            "rule",
            "event",
            "sign_up, share, generate_lead, view_cart ... are recommended names (.../protocol/ga4/reference/events)",
            when=lambda expected, ours: isinstance(ours, str) and ours.islower() and expected != ours,
        ),
        Deviation("rule", "items", "a promotion is no item, view_search_results has none (.../reference/events)"),
        Deviation(
            "choice", "refused", "join_group, promotions without items, amounts without currency go out", when=sends
        ),
    ),
    "posthog": (
        Deviation(
            "rule",
            "time",
            "timestamp is when the event happened and not when it was received (posthog.com/docs/api/capture)",
        ),
        Deviation(
            "rule",
            "id",
            "in an alias distinct_id is the id that stays, the user's (posthog.com/docs/product-analytics/identify)",
            cases="alias",
        ),
        Deviation("choice", "traits", "context.traits of a track call change no profile; identify does"),
        Deviation("choice", "refused", REFUSED_BY_ORACLE, when=sends),
    ),
    "amplitude": (
        Deviation(
            "rule",
            "device",
            "device ids of zeros are dropped (amplitude.com/docs/apis/analytics/http-v2)",
            when=is_zeros,
        ),
        Deviation("setting", "event", "the oracle makes names of pages and screens by settings of its own"),
        Deviation("choice", "device", "the device is anonymousId, and the phone's id only without one"),
        Deviation("rule", "time", "an event without a time has none", when=lambda expected, ours: expected == 0),
        Deviation("choice", "revenue", "an order's revenue of 0 is 0, and not price times quantity"),
        Deviation("setting", "refused", REFUSED_BY_ORACLE, when=sends),
    ),
    "mixpanel": (
        Deviation(
            "rule",
            "insert_id",
            "$insert_id has at most 36 letters, digits and - (docs.mixpanel.com/reference/import-events); "
            "other message ids become a UUID",
        ),
        Deviation(
            "rule",
            "*",
            "events more than an hour ahead are refused (docs.mixpanel.com/troubleshooting/errors/400-bad-request)",
            when=is_reason("an hour ahead"),
        ),
        Deviation(
            "rule",
            "id",
            "distinct_id of visitors is $device:ID, in Simplified ID Merge "
            "(docs.mixpanel.com/docs/tracking-methods/id-management)",
            when=lambda expected, ours: str(ours).startswith("$device:"),
        ),
        Deviation(
            "rule",
            "endpoint",
            "/track takes events of the last 5 days only, and names none that it refuses; /import any",
            when=lambda expected, ours: (expected, ours) == ("track", "import"),
        ),
        Deviation(
            "rule",
            "endpoint event",
            "profiles are changed at /engage (docs.mixpanel.com/reference/profile-set)",
            when=lambda expected, ours: expected in ("track", "$identify"),
        ),
        Deviation(
            "rule",
            "*",
            "there is no alias in Simplified ID Merge (docs.mixpanel.com/docs/tracking-methods/id-management)",
            when=is_reason("no counterpart"),
        ),
        Deviation("setting", "event", "the oracle makes names of pages and screens by settings of its own"),
        Deviation(
            "setting", "endpoint id traits", "people properties and orders of purchases are settings of the oracle"
        ),
        Deviation("setting", "group", "keys of several groups are a setting of the oracle", cases="*router*"),
        Deviation("setting", "refused", REFUSED_BY_ORACLE, when=sends),
    ),
    "meta": (
        Deviation(
            "rule",
            "event",
            "standard events have their names: AddPaymentInfo, AddToWishlist, CompleteRegistration, Lead "
            "(developers.facebook.com/docs/meta-pixel/reference)",
            cases="payment_info wishlist signed_up lead",
        ),
        Deviation(
            "rule",
            "db",
            "birthdays are hashed as YYYYMMDD (.../conversions-api/parameters/customer-information-parameters)",
        ),
        Deviation("rule", "ph fn ln", "numbers are hashed without +, names in lower case (the same page)"),
        Deviation(
            "rule",
            "*",
            "event_time may be a minute ahead at most; a later one fails the request (.../parameters/server-event)",
            when=is_reason("a minute ahead"),
        ),
        Deviation(
            "rule",
            "*",
            "a purchase needs a currency, which nobody may make up (.../parameters/custom-data)",
            when=is_reason("Purchase needs"),
        ),
        Deviation("rule", "value currency", "value goes with its currency (.../parameters/custom-data)"),
        Deviation(
            "rule",
            "source",
            "an event of a website needs event_source_url, one of an app app_data (.../parameters/server-event)",
        ),
        Deviation(
            "rule",
            "*",
            "identify and screen are no actions of a customer, and Meta has no events for them "
            "(developers.facebook.com/docs/meta-pixel/reference)",
            when=is_reason("no counterpart"),
        ),
        Deviation("choice", "event_id", "messageId is the id unless properties.event_id says another"),
        Deviation("setting", "event", "PageView: what pages are called is a setting of the oracle"),
        Deviation("setting", "items refused", "which properties are contents is a setting of the oracle"),
        Deviation("choice", "ip", "request_ip is RudderStack's own; context.ip counts"),
    ),
}
