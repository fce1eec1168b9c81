from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.testing.http_receiver import HttpReceiver, Reply
from tests.doubles import saas
from tests.end_to_end.harness import MakeSystem, System

CONFIG = """
[destinations.ga4]
requires = ["measurement"]
measurement_id = "G-1"
api_secret = "ga4-secret"
url = "{ga4}"
[destinations.amplitude]
requires = ["measurement"]
api_key = "amplitude-secret"
url = "{amplitude}"
[destinations.mixpanel]
requires = ["measurement"]
token = "mixpanel-token"
api_secret = "mixpanel-secret"
url = "{mixpanel}"
[destinations.meta]
requires = ["measurement"]
pixel_id = "1"
access_token = "meta-secret"
url = "{meta}"
limited_data_use = "event"
consent_category = "sale_of_data"
"""
NAMES = ("ga4", "amplitude", "mixpanel", "meta")


@pytest.fixture
def vendors() -> Iterator[dict[str, HttpReceiver]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(HttpReceiver(getattr(saas, name)))) for name in NAMES}


@pytest.fixture
def running(system: MakeSystem, vendors: dict[str, HttpReceiver]) -> System:
    return system(CONFIG.format(**{name: one.url for name, one in vendors.items()})).start()


def track(name: str, visitor: str, **consent: bool) -> dict[str, Any]:
    return {
        "type": "track",
        "event": name,
        "messageId": str(uuid4()),
        "anonymousId": visitor,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "context": {
            "userAgent": "Mozilla/5.0",
            "page": {"url": "https://shop.example/p"},
            "consent": {"categoryPreferences": {"measurement": True, "marketing": True, **consent}},
        },
        "properties": {"visitor": visitor},
    }


def sent(vendor: HttpReceiver) -> list[Any]:
    return [saas.body_of(request) for request in vendor.taken]


def test_vendors_are_told_what_people_consented_to(running: System, vendors: dict[str, HttpReceiver]) -> None:
    agrees = track("Signed Up", "visitor-yes", sale_of_data=True)
    refuses = track("Signed Up", "visitor-no", marketing=False, sale_of_data=False)
    unasked = track("Signed Up", "visitor-unasked")
    del unasked["context"]["consent"]["categoryPreferences"]["marketing"]
    nobody = track("Signed Up", "visitor-nobody", measurement=False)

    running.post([agrees, refuses, unasked, nobody])
    ga4 = running.until_delivered("ga4", 3)
    meta = running.until_delivered("meta", 1)

    yes, no = ({"ad_user_data": said, "ad_personalization": said} for said in ("GRANTED", "DENIED"))
    consents = {body["client_id"]: body.get("consent") for body in sent(vendors["ga4"])}
    assert consents == {"visitor-yes": yes, "visitor-no": no, "visitor-unasked": no}
    assert (ga4.denied, meta.denied, meta.held) == (1, 2, 1)
    (conversion,) = (event for body in sent(vendors["meta"]) for event in body["data"])
    assert "data_processing_options" not in conversion


def test_meta_is_told_of_limited_data_use(running: System, vendors: dict[str, HttpReceiver]) -> None:
    agrees = track("Signed Up", "visitor-yes", sale_of_data=True)
    refuses = track("Signed Up", "visitor-no", sale_of_data=False)

    running.post([agrees, refuses])
    running.until_delivered("meta", 2)

    found = {event["event_id"]: event for body in sent(vendors["meta"]) for event in body["data"]}
    limits = {name: value for name, value in found[refuses["messageId"]].items() if name.startswith("data_processing")}
    assert limits == {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 0,
        "data_processing_options_state": 0,
    }
    assert "data_processing_options" not in found[agrees["messageId"]]


def test_event_that_a_vendor_refuses_is_a_dead_letter_alone(running: System, vendors: dict[str, HttpReceiver]) -> None:
    events = [track("Tested", f"visitor-{n}") for n in range(9)]
    refused = track("Refused_by_rule", "visitor-bad")
    reserved = track("session_start", "visitor-bad-too")
    reasons = {
        "amplitude": ["Amplitude: invalid fields: time"],
        "mixpanel": ["Mixpanel: properties.x: is invalid"],
        "meta": ["Meta answered 400: Invalid parameter"],
        "ga4": ["the event name session_start is reserved"],
    }

    running.post([*events[:4], refused, reserved, *events[4:]])
    for name in NAMES:
        running.until(name, "settled", lambda one: one.pending == 0 and one.accepted == 11)
    letters = json.loads(running.admin("dead-letters", "list", "--json").stdout)

    assert {name: [one["reason"] for one in letters if one["destination"] == name] for name in NAMES} == reasons
    bad = {name: reserved if name == "ga4" else refused for name in NAMES}
    assert all(one["messageId"] == bad[one["destination"]]["messageId"] for one in letters)
    assert {(one.delivered, one.dead) for one in running.statuses().values()} == {(10, 1)}
    for name in ("amplitude", "meta"):
        has = str(sent(vendors[name]))
        assert [event for event in (*events, refused, reserved) if event["messageId"] not in has] == [refused]
    assert len(vendors["mixpanel"].requests) == 1


def test_secrets_of_vendors_are_in_no_log_and_no_letter(running: System, vendors: dict[str, HttpReceiver]) -> None:
    for vendor in vendors.values():
        vendor.answer = lambda request: Reply(400, body=b"bad: amplitude-secret mixpanel-token meta-secret")

    running.post([track("Tested", "visitor-1")])
    for name in ("amplitude", "mixpanel", "meta"):
        running.until(name, "settled", lambda one: one.dead == 1)
    shown = running.admin("dead-letters", "list", "--json").stdout

    assert "bad: ***" in shown
    assert not any(secret in shown + running.log() for secret in ("amplitude-secret", "mixpanel-token", "meta-secret"))


def test_statement_47_event_older_than_vendors_take_is_dropped_alone(
    running: System, vendors: dict[str, HttpReceiver]
) -> None:
    events = [track("Tested", f"visitor-{n}") for n in range(5)]
    old = track("Tested", "visitor-old")
    old["timestamp"] = (datetime.now(UTC) - timedelta(days=30)).isoformat()

    running.post([*events[:2], old, *events[2:]])
    for name in ("ga4", "meta"):
        running.until(name, "settled", lambda one: one.pending == 0 and one.accepted == 6)
    told = running.admin("explain", old["messageId"], "ga4").stdout

    statuses = running.statuses()
    found = {name: (statuses[name].delivered, statuses[name].dead, statuses[name].denied) for name in ("ga4", "meta")}
    assert found == {"ga4": (5, 0, 1), "meta": (5, 0, 1)}
    assert "older than the destination takes" in told
