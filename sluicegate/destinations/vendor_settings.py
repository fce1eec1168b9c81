"""Settings of the destinations that are vendors' web APIs."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret
from sluicegate.destinations.settings import check_key, check_url

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
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("write_key", self.write_key)


Consent = Literal["event", "granted", "denied", "unsaid"]


class PosthogSettings(Settings):
    """`api_key` of a project (`phc_...`), and `url`: where it lives, https://eu.i.posthog.com for the EU.

    `group_type` is what groups of `group` calls are at PostHog. `historical_migration` marks old events as such.
    """

    api_key: Secret
    url: str = "https://us.i.posthog.com"
    group_type: str = "company"
    historical_migration: bool = False
    geoip_disable: bool = False

    requires: ClassVar[tuple[str, ...]] = ("measurement",)
    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=4 * MIB, in_flight=4)
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("api_key", self.api_key)


class AmplitudeSettings(Settings):
    """`api_key` of a project; `url` is https://api.eu.amplitude.com for the EU.

    `product_events` sends an event of its own for every product of an order. Ids shorter than `min_id_length` are
    refused. `group_type` names the groups of `group` calls; without it they are skipped.
    """

    api_key: Secret
    url: str = "https://api2.amplitude.com"
    product_events: bool = True
    min_id_length: int = 1
    group_type: str = ""

    requires: ClassVar[tuple[str, ...]] = ("measurement",)
    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=700 * KIB, in_flight=4)
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("api_key", self.api_key)


class MixpanelSettings(Settings):
    """`token` of a project with its `api_secret`, or with the `service_account` ("name:secret") and `project_id`.

    `url` is https://api-eu.mixpanel.com for the EU, https://api-in.mixpanel.com for India. `group_key` names the groups
    of `group` calls; without it they are skipped.
    """

    token: Secret
    api_secret: Secret | None = None
    service_account: Secret | None = None
    project_id: str = ""
    url: str = "https://api.mixpanel.com"
    group_key: str = ""

    requires: ClassVar[tuple[str, ...]] = ("measurement",)
    limits: ClassVar[Limits] = Limits(max_events=1_000, max_bytes=1 * MIB, in_flight=4)
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("token", self.token)
        if (self.api_secret is None) == (self.service_account is None):
            raise ValueError("api_secret: name it or service_account; one of the two")
        for name, secret in (("api_secret", self.api_secret), ("service_account", self.service_account)):
            if secret is not None:
                check_key(name, secret)
        if self.service_account is not None and not self.project_id:
            raise ValueError("project_id: is missing; a service account needs it")


class MetaSettings(Settings):
    """`pixel_id` (data set) and its `access_token`; `test_event_code` shows events in the Events Manager only.

    `event_names` gives events other names. `limited_data_use`: never, always, or `event` for those whose consent says
    no to `consent_category`.
    """

    pixel_id: str
    access_token: Secret
    url: str = "https://graph.facebook.com/v25.0"
    test_event_code: str = ""
    action_source: str = ""
    event_names: dict[str, str] = {}  # noqa: RUF012
    limited_data_use: Literal["never", "always", "event"] = "never"
    consent_category: str = "marketing"

    requires: ClassVar[tuple[str, ...]] = ("marketing",)
    limits: ClassVar[Limits] = Limits(max_events=500, max_bytes=700 * KIB, in_flight=4)
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("access_token", self.access_token)
        if not self.pixel_id.isdigit():
            raise ValueError("pixel_id: not an id; write its digits as a text")


class Ga4Settings(Settings):
    """`api_secret` with the `measurement_id` of a web stream, or the `firebase_app_id` of an app.

    `event_names` gives events other names, `user_properties` are names of traits that go along, `currency` is that of
    values that come without one. `ad_user_data` and `ad_personalization`: what is said about consent, granted where
    the event grants `consent_category` and else denied, always the same, or nothing.
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
    needs_person: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_url(self.url)
        check_key("api_secret", self.api_secret)
        if bool(self.measurement_id) == bool(self.firebase_app_id):
            raise ValueError("measurement_id: name it or firebase_app_id; one of the two")
        stream = "measurement_id" if self.measurement_id else "firebase_app_id"
        check_key(stream, getattr(self, stream))
        if self.currency and not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise ValueError("currency: not a currency; write three capital letters (ISO 4217)")
        if len(self.user_properties) > 25:
            raise ValueError("user_properties: more than the 25 that GA4 takes; leave some out")
