"""`meta`: Meta's Conversions API (developers.facebook.com/docs/marketing-api/conversions-api).

People are matched by hashes of normalised values (.../parameters/customer-information-parameters); Meta recognises
repetitions by `event_id` with the event's name for 48 hours. One event that is too old fails a request as a whole, so
ages are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from sluicegate.destinations.answers import json_of, outcome_of
from sluicegate.destinations.fields import (
    at,
    consents,
    each,
    encoded,
    event_name,
    identifier,
    number,
    plain_name,
    products,
    properties,
    text,
    time_ms,
    traits,
)
from sluicegate.destinations.http import Answer
from sluicegate.destinations.plan import Broken, Foreign, Numbered, Plan, Request, TooOld, packs
from sluicegate.destinations.vendor import VendorDestination, Verdict
from sluicegate.destinations.vendor_settings import MetaSettings
from sluicegate.errors import CredentialsRefused, DestinationError, Rejected, Retry
from sluicegate.mapping.changes import hashed

EVENT_NAMES = {
    "checkout started": "InitiateCheckout",
    "generate lead": "Lead",
    "order completed": "Purchase",
    "payment info entered": "AddPaymentInfo",
    "product added": "AddToCart",
    "product added to wishlist": "AddToWishlist",
    "product viewed": "ViewContent",
    "products searched": "Search",
    "signed up": "CompleteRegistration",
}
"""Names of the Segment specification in lower case, and Meta's standard events; other names stay."""
PEOPLE = {
    "em": ("email",),
    "ph": ("phone",),
    "fn": ("firstName", "firstname", "first_name"),
    "ln": ("lastName", "lastname", "last_name"),
    "db": ("birthday",),
    "ge": ("gender",),
    "ct": ("address.city", "city"),
    "st": ("address.state", "state"),
    "zp": ("address.postalCode", "address.zip", "zip"),
    "country": ("address.country", "country"),
}
"""Meta's keys, and the traits that they come from."""
PLAIN = {
    "client_ip_address": ("context.ip",),
    "client_user_agent": ("context.userAgent",),
    "fbc": ("properties.fbc", "context.fbc"),
    "fbp": ("properties.fbp", "context.fbp"),
}
VALUES = ("revenue", "value", "total")
PRICED = frozenset(("AddToCart", "AddToWishlist", "ViewContent"))
"""Events whose properties are a product, when there is no list of them."""
RETRY_CODES = frozenset((1, 2, 368, 5000))
THROTTLE_CODES = frozenset((4, 17, 32, 341, 613, 80003, 80004))
REFUSED_CODES = frozenset((3, 10, 102, 104, 190, *range(200, 300)))
"""The token, and what it may not do (developers.facebook.com/docs/graph-api/guides/error-handling)."""
WRONG_URL_CODES = frozenset((2500, 2635))
"""A path that is none, and a version that has ended
(developers.facebook.com/blog/post/2024/04/16/upcoming-change-in-marketing-api-version-deprecation)."""
NO_SUCH_PIXEL = (100, 33)
"""Code and subcode when the pixel is not there, or the token may not write to it; 100 alone is about the events."""
OLDEST_MS, OLDEST_IN_STORE_MS, NEWEST_MS = 7 * 86_400_000, 62 * 86_400_000, 60_000
MAX_EVENTS, MAX_BYTES = 1_000, 1_000_000
_encode = msgspec.json.Encoder().encode


class Meta(VendorDestination):
    """Posts events to `/PIXEL/events`."""

    settings_type = MetaSettings
    settings: MetaSettings

    def plan(self, batch: Sequence[Numbered], now_ms: int) -> Plan:
        """One request, more when the events are large."""
        plan = Plan()
        url = f"{self.base_url}/{self.settings.pixel_id}/events"
        headers = {"Authorization": f"Bearer {self.settings.access_token.reveal()}"}
        test = {"test_event_code": self.settings.test_event_code} if self.settings.test_event_code else {}
        tail = b"," + _encode(test)[1:] if test else b"}"
        records = list(each(plan, batch, lambda one: encoded(self._record(one, now_ms), max_bytes=MAX_BYTES)))
        for indices, array in packs(records, max_records=MAX_EVENTS, max_bytes=MAX_BYTES):
            plan.requests.append(Request(url, b'{"data":' + array + tail, indices, headers))
        return plan

    def judge(self, answer: Answer, request: Request) -> Verdict:
        """By the code of the Graph API's error, which tells more than the status."""
        if answer.status < 400:
            return outcome_of(answer, "Meta")
        error = at(json_of(answer), "error")
        error = error if isinstance(error, dict) else {}
        code = error.get("code") if isinstance(error.get("code"), int) else None
        message = (
            f"Meta answered {answer.status}: {error.get('error_user_msg') or error.get('message') or answer.excerpt}"
        )
        found: DestinationError
        if code in THROTTLE_CODES:
            return Retry(message).answered(429, answer.beginning())
        if code in RETRY_CODES or error.get("is_transient") is True:
            found = Retry(message)
        elif code in REFUSED_CODES or (code, error.get("error_subcode")) == NO_SUCH_PIXEL:
            found = CredentialsRefused(f"credentials: {message}")
        elif code in WRONG_URL_CODES:
            found = CredentialsRefused(f"gone: {message}; write the url of a version that there is")
        elif code is not None and answer.status < 500 and answer.status != 429:
            found = Rejected(message)
        else:
            return outcome_of(answer, "Meta")
        return found.answered(answer.status, answer.beginning())

    def _record(self, one: Numbered, now_ms: int) -> dict[str, Any]:
        event = one.event
        name = self._name(event)
        source = self._source(event)
        record: dict[str, Any] = {
            "event_name": name,
            "event_time": _time(event, source, now_ms) // 1_000,
            "event_id": text(event, "properties.event_id") or one.message_id,
            "action_source": source,
            "user_data": user_data(event),
        }
        url = text(event, "context.page.url", "properties.url")
        if url:
            record["event_source_url"] = url
        if source == "website" and not (url and "client_user_agent" in record["user_data"]):
            raise Broken("an event of a website needs context.page.url and context.userAgent")
        if custom := custom_data(name, event):
            record["custom_data"] = custom
        if name == "Purchase" and not {"currency", "value"} <= set(custom):
            raise Broken("Purchase needs currency and value")
        if self._limits_data_use(event):
            options = {"data_processing_options_country": 0, "data_processing_options_state": 0}
            record |= {"data_processing_options": ["LDU"], **options}
        return record

    def _name(self, event: Mapping[str, Any]) -> str:
        if event.get("type") == "page":
            return "PageView"
        if event.get("type") != "track":
            raise Foreign
        given = event_name(event)
        return self.settings.event_names.get(given) or EVENT_NAMES.get(plain_name(given), given)

    def _source(self, event: Mapping[str, Any]) -> str:
        if self.settings.action_source:
            return self.settings.action_source
        return "website" if text(event, "context.page.url", "properties.url") else "other"

    def _limits_data_use(self, event: Mapping[str, Any]) -> bool:
        mode = self.settings.limited_data_use
        refused = consents(event).get(self.settings.consent_category) is False
        return mode == "always" or (mode == "event" and refused)


def user_data(event: Mapping[str, Any]) -> dict[str, Any]:
    """What Meta matches people by, at least one key; raises `Broken` when there is none."""
    people = traits(event)
    found: dict[str, Any] = {}
    for key, places in PEOPLE.items():
        value = text({"traits": people, "properties": properties(event)}, *(f"traits.{place}" for place in places))
        if value is None and key in ("em", "ph"):
            value = text(event, *(f"properties.{place}" for place in places))
        normal = normalised(key, value) if value else None
        if normal:
            found[key] = hashed(normal)
    if person := identifier(event, "userId", "anonymousId"):
        found["external_id"] = [hashed(person)]
    for key, places in PLAIN.items():
        if value := text(event, *places):
            found[key] = value
    if not found:
        raise Broken("nothing to match a person by: no ids, traits, address or browser")
    return found


def normalised(key: str, value: str) -> str | None:
    """A value in the form that Meta wants hashed, None when it cannot be brought to it; a hash stays as it is."""
    value = value.strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    return _NORMALISED.get(key, str)(value) or None


def _phone(value: str) -> str:
    return re.sub(r"\D", "", value).lstrip("0")


def _birthday(value: str) -> str:
    match = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", value)
    return "".join(match.groups()) if match else ""


def _letters(value: str) -> str:
    return re.sub(r"[\W\d_]", "", value)


def _zip(value: str) -> str:
    return re.split(r"-", value.replace(" ", ""))[0]


_NORMALISED: dict[str, Callable[[str], str]] = {
    "ph": _phone,
    "db": _birthday,
    "ge": lambda value: value[0] if value[0] in "fm" else "",
    "fn": lambda value: re.sub(r"[^\w]", "", value),
    "ln": lambda value: re.sub(r"[^\w]", "", value),
    "ct": _letters,
    "st": _letters,
    "zp": _zip,
    "country": lambda value: value if re.fullmatch(r"[a-z]{2}", value) else "",
}


def custom_data(name: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts and contents of an event."""
    source = properties(event)
    found: dict[str, Any] = {}
    value = next((v for key in VALUES if (v := number(source.get(key))) is not None), None)
    if value is None and name in PRICED and (price := number(source.get("price"))) is not None:
        value = round(price * (number(source.get("quantity")) or 1), 6)
    currency = source.get("currency")
    if isinstance(currency, str) and re.fullmatch(r"[A-Za-z]{3}", currency):
        found["currency"] = currency.upper()
        if value is not None:
            found["value"] = value
    contents = [
        content for one in products(event) or ([source] if name in PRICED else []) if (content := _content(one))
    ]
    if contents:
        found |= {"contents": contents, "content_ids": [one["id"] for one in contents], "content_type": "product"}
        found["num_items"] = sum(one["quantity"] for one in contents)
    for old, new in (("order_id", "order_id"), ("query", "search_string"), ("category", "content_category")):
        if (text_ := text(source, old)) is not None:
            found[new] = text_
    return found


def _content(product: Mapping[str, Any]) -> dict[str, Any]:
    found = {"id": text(product, "product_id", "sku", "id"), "quantity": number(product.get("quantity")) or 1}
    if (price := number(product.get("price"))) is not None:
        found["item_price"] = price
    return found if found["id"] else {}


def _time(event: Mapping[str, Any], source: str, now_ms: int) -> int:
    at_ms = time_ms(event)
    if at_ms is None:
        raise Broken("no event_time: the event has no timestamp")
    in_store = source == "physical_store"
    if at_ms < now_ms - (OLDEST_IN_STORE_MS if in_store else OLDEST_MS):
        raise TooOld
    if at_ms > now_ms + NEWEST_MS:
        raise Broken("the event is more than a minute ahead")
    return at_ms
