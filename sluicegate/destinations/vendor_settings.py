"""Settings of the destinations that are vendors' web APIs."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret
from sluicegate.destinations.settings import check_url

KIB = 1024
MIB = 1024 * KIB

SEGMENT_URL = "https://api.segment.io/v1/batch"


class SegmentSettings(Settings):
    """`write_key` of a source; `url` of the batch endpoint: Segment's own unless another system speaks its protocol.

    `gzip` compresses requests, which RudderStack and Jitsu take. `max_event_bytes` is what one event may have.
    """

    write_key: Secret
    url: str = SEGMENT_URL
    gzip: bool = False
    max_event_bytes: int = 32 * KIB
    """segment.com/docs/connections/sources/catalog/libraries/server/http-api (32 KB an event, 500 KB a batch)."""

    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=450 * KIB, in_flight=8)

    def __post_init__(self) -> None:
        check_url(self.url)


Consent = Literal["event", "granted", "denied", "unsaid"]


class Ga4Settings(Settings):
    """`api_secret` with the `measurement_id` of a web stream, or the `firebase_app_id` of an app.

    `event_names` gives events other names, `user_properties` are names of traits that go along, `currency` is that of
    values that come without one. `ad_user_data` and `ad_personalization`: what is said about consent, as the event
    has it for `consent_category`, always the same, or nothing.
    """

    api_secret: Secret
    measurement_id: str = ""
    firebase_app_id: str = ""
    url: str = "https://www.google-analytics.com/mp/collect"
    event_names: dict[str, str] = {}  # noqa: RUF012  (msgspec copies it)
    user_properties: tuple[str, ...] = ()
    send_user_id: bool = True
    currency: str = ""
    ad_user_data: Consent = "event"
    ad_personalization: Consent = "event"
    consent_category: str = "marketing"

    requires: ClassVar[tuple[str, ...]] = ("measurement",)
    limits: ClassVar[Limits] = Limits(max_events=100, max_bytes=450 * KIB, in_flight=8)

    def __post_init__(self) -> None:
        check_url(self.url)
        if bool(self.measurement_id) == bool(self.firebase_app_id):
            raise ValueError("measurement_id: name it or firebase_app_id; one of the two")
        if self.currency and not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise ValueError("currency: not a currency; write three capital letters (ISO 4217)")
        if len(self.user_properties) > 25:
            raise ValueError("user_properties: more than the 25 that GA4 takes; leave some out")
