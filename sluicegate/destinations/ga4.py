"""`ga4`: Google Analytics 4 by the Measurement Protocol.

GA4 answers 2xx to everything, to what it drops too, so its rules are checked here, and an event that breaks one is a
dead letter with the rule. Rules and limits: developers.google.com/analytics/devguides/collection/protocol/ga4/reference
and .../sending-events. A request has the events of one client with one consent. GA4 recognises no repetitions, save
purchases of one transaction_id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from sluicegate.destinations.fields import (
    consents,
    each,
    event_name,
    external_id,
    identifier,
    number,
    plain_name,
    products,
    properties,
    renamed,
    text,
    time_ms,
    traits,
    words,
)
from sluicegate.destinations.plan import Broken, Foreign, Numbered, Plan, Request, TooOld
from sluicegate.destinations.vendor import VendorDestination
from sluicegate.destinations.vendor_settings import Ga4Settings

EVENT_NAMES = {
    "cart shared": "share",
    "cart viewed": "view_cart",
    "checkout started": "begin_checkout",
    "generate lead": "generate_lead",
    "order completed": "purchase",
    "order refunded": "refund",
    "payment info entered": "add_payment_info",
    "product added": "add_to_cart",
    "product added to wishlist": "add_to_wishlist",
    "product clicked": "select_item",
    "product list viewed": "view_item_list",
    "product removed": "remove_from_cart",
    "product shared": "share",
    "product viewed": "view_item",
    "products searched": "search",
    "promotion clicked": "select_promotion",
    "promotion viewed": "view_promotion",
    "signed in": "login",
    "signed up": "sign_up",
}
"""Names of the Segment specification in lower case, and GA4's recommended events; other names stay."""
PARAMS = {
    "order_id": "transaction_id",
    "share_via": "method",
    "payment_method": "payment_type",
    "shipping_method": "shipping_tier",
    "query": "search_term",
    "list_id": "item_list_id",
    "category": "item_list_name",
    "promotion_id": "promotion_id",
    "creative": "creative_name",
    "position": "creative_slot",
}
"""Property to parameter, for recommended events; `_TABLES` says for which."""
_TABLES: dict[str, tuple[str, ...]] = {
    "add_payment_info": ("payment_method",),
    "add_shipping_info": ("shipping_method",),
    "purchase": ("order_id",),
    "refund": ("order_id",),
    "search": ("query",),
    "select_promotion": ("promotion_id", "creative", "position"),
    "share": ("share_via",),
    "view_item_list": ("list_id", "category"),
    "view_promotion": ("promotion_id", "creative", "position"),
}
VALUES = {"purchase": ("total", "value", "revenue"), "refund": ("total", "value", "revenue")}
"""Where `value` comes from; of all other events from these:"""
OTHER_VALUES = ("value", "total", "revenue", "price")
ITEM_EVENTS = words(
    "add_payment_info add_shipping_info add_to_cart add_to_wishlist begin_checkout purchase refund "
    "remove_from_cart select_item view_cart view_item view_item_list"
)
SINGLE_ITEM_EVENTS = words("add_to_cart add_to_wishlist remove_from_cart select_item view_item")
"""Events whose properties are a product, when there is no list of them."""
ITEM = {
    "product_id": "item_id",
    "sku": "item_id",
    "name": "item_name",
    "affiliation": "affiliation",
    "brand": "item_brand",
    "category": "item_category",
    "coupon": "coupon",
    "currency": "currency",
    "discount": "discount",
    "position": "index",
    "price": "price",
    "quantity": "quantity",
    "variant": "item_variant",
}
ITEM_NUMBERS = ("index", "price", "quantity", "discount")
PAGE = {"page.url": "page_location", "page.referrer": "page_referrer", "page.title": "page_title"}
NEEDS_CURRENCY = frozenset({"purchase", "refund"})

RESERVED_EVENTS = words(
    "ad_activeview ad_click ad_exposure ad_query ad_reward adunit_exposure app_clear_data app_exception "
    "app_install app_remove app_store_refund app_update app_upgrade dynamic_link_app_open "
    "dynamic_link_app_update dynamic_link_first_open error firebase_campaign firebase_in_app_message_action "
    "firebase_in_app_message_dismiss firebase_in_app_message_impression first_open first_visit in_app_purchase "
    "notification_dismiss notification_foreground notification_open notification_receive notification_send "
    "os_update session_start user_engagement"
)
RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
RESERVED_USER_PROPERTIES = words(
    "first_open_after_install first_open_time first_visit_time last_deep_link_referrer user_id"
)
MAX_EVENTS, MAX_PARAMS, MAX_ITEMS = 25, 25, 200
MAX_NAME_CHARS, MAX_VALUE_CHARS = 40, 100
MAX_USER_NAME_CHARS, MAX_USER_VALUE_CHARS = 24, 36
LONG_VALUES = {"page_location": 1_000, "page_referrer": 420, "page_title": 300}
MAX_REQUEST_BYTES = 125 * 1024
"""Of the 130 KB that GA4 takes, with room for what is around the events."""
OLDEST_MS, NEWEST_MS = 72 * 3_600_000, 15 * 60_000

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_INSTANCE = re.compile(r"[0-9A-Fa-f]{32}")
_encode = msgspec.json.Encoder().encode


class Ga4(VendorDestination):
    """Posts the events of a client, up to 25 at a time."""

    settings_type = Ga4Settings
    settings: Ga4Settings

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """One request per client and consent, in the order of their first events."""
        plan = Plan()
        open_groups: dict[bytes, Group] = {}
        groups: list[Group] = []
        for index, (head, event) in each(plan, batch, lambda one: self._event(one.event, now_ms)):
            key, encoded = _encode(head), _encode(event)
            group = open_groups.get(key)
            if group is None or not group.has_room(len(encoded)):
                group = open_groups[key] = Group(key)
                groups.append(group)
            group.add(index, encoded)
        url = f"{self.settings.url}?{urlencode(self._query())}"
        plan.requests = [Request(url, group.body(), group.indices) for group in groups]
        return plan

    def _query(self) -> dict[str, str]:
        settings = self.settings
        stream = {"measurement_id": settings.measurement_id, "firebase_app_id": settings.firebase_app_id}
        return {"api_secret": settings.api_secret.reveal(), **{k: v for k, v in stream.items() if v}}

    def _event(self, event: dict[str, Any], now_ms: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a request says of its client, and the event."""
        name = self._name(event)
        params = self._params(name, event)
        made: dict[str, Any] = {"name": name, "params": params}
        at_ms = time_ms(event)
        if at_ms is not None:
            if at_ms < now_ms - OLDEST_MS:
                raise TooOld
            if at_ms > now_ms + NEWEST_MS:
                raise Broken("the event is more than 15 minutes ahead")
            made["timestamp_micros"] = at_ms * 1_000
        if len(_encode(made)) > MAX_REQUEST_BYTES - 5_000:
            raise Broken("the event is larger than a GA4 request may be")
        return self._head(event), made

    def _head(self, event: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = self._client(event)
        # Never "null" (developers.google.com/analytics/devguides/collection/ga4/user-id).
        user_id = identifier(event, "userId")
        if user_id and self.settings.send_user_id:
            head["user_id"] = user_id[:256]
        if found := user_properties(traits(event), self.settings.user_properties):
            head["user_properties"] = found
        if consent := self._consent(event):
            head["consent"] = consent
        return head

    def _client(self, event: dict[str, Any]) -> dict[str, Any]:
        if self.settings.firebase_app_id:
            places = ("integrations.Firebase.app_instance_id", "context.app_instance_id", "context.ga4.appInstanceId")
            found = text(event, *places) or external_id(event, "ga4AppInstanceId")
            if not found or not _INSTANCE.fullmatch(found):
                raise Broken("no app_instance_id (32 hexadecimal digits) in integrations.Firebase.app_instance_id")
            return {"app_instance_id": found}
        own = [f"integrations.{name}.clientId" for name in ("Google Analytics 4 (GA4)", "Google Analytics 4", "GA4")]
        found = text(event, *own, "context.ga4.clientId", "properties.client_id") or external_id(event, "ga4ClientId")
        found = found or identifier(event, "anonymousId", "userId") or text(event, "anonymousId", "userId")
        if not found:
            raise Broken("no client_id: the event has neither anonymousId nor userId")
        return {"client_id": found}

    def _consent(self, event: dict[str, Any]) -> dict[str, str]:
        said = consents(event).get(self.settings.consent_category)
        known = {"granted": "GRANTED", "denied": "DENIED", "unsaid": None}
        known["event"] = "GRANTED" if said else "DENIED"  # who was not asked has not agreed
        fields = {
            "ad_user_data": known[self.settings.ad_user_data],
            "ad_personalization": known[self.settings.ad_personalization],
        }
        return {name: value for name, value in fields.items() if value}

    def _name(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "page":
            return "page_view"
        if kind == "screen" and self.settings.firebase_app_id:
            return "screen_view"
        if kind == "group":
            return "join_group"
        if kind != "track":
            raise Foreign
        given = event_name(event)
        known = EVENT_NAMES.get(plain_name(given))
        name = self.settings.event_names.get(given) or known or re.sub(r"\s+", "_", given.strip())
        check_event_name(name)
        return name

    def _params(self, name: str, event: dict[str, Any]) -> dict[str, Any]:
        source = event.get("traits") if event.get("type") == "group" else properties(event)
        source = source if isinstance(source, dict) else {}
        params = {PARAMS[old]: source[old] for old in _TABLES.get(name, ()) if old in source}
        used = {"products", "client_id", *(_TABLES.get(name, ()))}
        if name in ITEM_EVENTS and (items := items_of(name, event)):
            params["items"] = items
            used |= set(ITEM) - {"currency", "affiliation", "coupon"} if name in SINGLE_ITEM_EVENTS else set()
        elif name in ITEM_EVENTS and not products(event) and name in NEEDS_CURRENCY:
            params["items"] = []
        self._add_money(name, source, params, used)
        self._add_context(event, params)
        for key, value in flat({k: v for k, v in source.items() if k not in used}):
            if len(params) < MAX_PARAMS and key not in params and is_param_name(key):
                params[key] = value
        if "transaction_id" in params:
            params["transaction_id"] = str(params["transaction_id"])
        return {key: cut(key, value) for key, value in params.items()}

    def _add_money(self, name: str, source: Mapping[str, Any], params: dict[str, Any], used: set[str]) -> None:
        """`value` with its `currency`, which GA4 takes together only, and the other amounts of recommended events."""
        value = next(
            (v for place in VALUES.get(name, OTHER_VALUES) if (v := number(source.get(place))) is not None), None
        )
        if value is not None and "price" in source and "value" not in source and name in SINGLE_ITEM_EVENTS:
            value = round(value * (number(source.get("quantity")) or 1), 6)
        currency = source.get("currency") or self.settings.currency
        for key in ("tax", "shipping"):
            if name in ITEM_EVENTS and (amount := number(source.get(key))) is not None:
                params[key] = amount
        if name not in ITEM_EVENTS and name != "generate_lead":
            return
        if isinstance(currency, str) and re.fullmatch(r"[A-Za-z]{3}", currency):
            params["currency"] = currency.upper()
            if value is not None:
                params["value"] = value
                used |= {"total", "revenue"} if name in NEEDS_CURRENCY else set()
        elif name in NEEDS_CURRENCY:
            raise Broken(f"{name} has no currency; GA4 needs one with its value")
        used |= {"currency", "value"}
        if name in NEEDS_CURRENCY and params.get("transaction_id") in (None, ""):
            raise Broken(f"{name} has no order_id; GA4 needs it as transaction_id")

    def _add_context(self, event: dict[str, Any], params: dict[str, Any]) -> None:
        context = event.get("context")
        if isinstance(context, dict) and event.get("type") != "group":
            params.update(renamed(context, PAGE))
        if event.get("type") == "page":
            own = {"url": "page_location", "referrer": "page_referrer", "title": "page_title"}
            params.update({k: v for k, v in renamed(properties(event), own).items() if isinstance(v, str)})
        if event.get("type") == "screen" and (screen := text(event, "name")):
            params["screen_name"] = screen
        if event.get("type") == "group" and (group := text(event, "groupId")):
            params["group_id"] = group
        session = text(event, "integrations.Google Analytics 4 (GA4).sessionId", "integrations.GA4.sessionId")
        if session or (session := text(event, "context.sessionId")):
            params["session_id"] = session
        params["engagement_time_msec"] = 1


class Group:
    """Events that may go out in one request, with what it says of their client (a JSON object with a member)."""

    def __init__(self, head: bytes) -> None:
        self.indices: list[int] = []
        self._head = head
        self._events: list[bytes] = []
        self._n_bytes = len(head)

    def has_room(self, n_bytes: int) -> bool:
        """Whether an event of this size may go along."""
        return len(self._events) < MAX_EVENTS and self._n_bytes + n_bytes < MAX_REQUEST_BYTES

    def add(self, index: int, event: bytes) -> None:
        """Take an event along."""
        self.indices.append(index)
        self._events.append(event)
        self._n_bytes += len(event) + 1

    def body(self) -> bytes:
        """The request's body."""
        return self._head[:-1] + b',"events":[' + b",".join(self._events) + b"]}"


def check_event_name(name: str) -> None:
    """Raise `Broken` when GA4 would drop an event of this name."""
    if len(name) > MAX_NAME_CHARS:
        raise Broken(f"the event name has more than {MAX_NAME_CHARS} characters")
    if not _NAME.fullmatch(name):
        raise Broken("an event name begins with a letter and has only letters, digits and _; see event_names")
    if name in RESERVED_EVENTS or name.lower().startswith(RESERVED_PREFIXES):
        raise Broken(f"the event name {name} is reserved")


def is_param_name(name: str) -> bool:
    """Whether GA4 takes a parameter of this name."""
    return len(name) <= MAX_NAME_CHARS and bool(_NAME.fullmatch(name)) and not name.startswith(RESERVED_PREFIXES)


def user_properties(source: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the traits that GA4 takes as user properties."""
    found = {}
    for name in names:
        value = source.get(name)
        right = len(name) <= MAX_USER_NAME_CHARS and is_param_name(name) and name not in RESERVED_USER_PROPERTIES
        if right and isinstance(value, str | int | float):
            found[name] = {"value": value[:MAX_USER_VALUE_CHARS] if isinstance(value, str) else value}
    return found


def items_of(name: str, event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The products of an event as GA4's items; those without id and name are left out, for GA4 wants one of them."""
    found = products(event)
    if not found and name in SINGLE_ITEM_EVENTS:
        found = [properties(event)]
    items = []
    for product in found[:MAX_ITEMS]:
        item = renamed(product, ITEM)
        for key in ITEM_NUMBERS:
            if key in item:
                amount = number(item.pop(key))
                item |= {} if amount is None else {key: amount}
        item = {key: cut(key, str(v) if key.startswith("item_") else v) for key, v in item.items()}
        if "item_id" in item or "item_name" in item:
            items.append(item)
    return items


def flat(source: Mapping[str, Any], prefix: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    """Texts and numbers of an object by name; inner objects and lists with `_` between, as GA4 knows neither."""
    found: list[tuple[str, Any]] = []
    for name, value in source.items():
        key = prefix + re.sub(r"[\s.]+", "_", name)
        if isinstance(value, list):
            value = {str(i): one for i, one in enumerate(value[:MAX_PARAMS])}
        if isinstance(value, dict) and depth < 4:
            found += flat(value, key + "_", depth + 1)
        elif isinstance(value, bool):
            found.append((key, "true" if value else "false"))
        elif isinstance(value, str | int | float):
            found.append((key, value))
    return found


def cut(key: str, value: Any) -> Any:
    """A text in the length that GA4 keeps."""
    return value[: LONG_VALUES.get(key, MAX_VALUE_CHARS)] if isinstance(value, str) else value
