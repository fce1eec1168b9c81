from __future__ import annotations

import json
from typing import Any

import pytest

from sluicegate.messages.consent import ConsentRecorded, SetConsent
from tests.consent.test_tcf import core, disclosed, written
from tests.end_to_end.harness import WRITE_KEY, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_withdrawal import CONFIG, YES, Held

PLACES = """
[consent]
jurisdiction_header = "X-Country"
jurisdictions = { US = "opt-out", DE = "opt-in" }
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
receives_consent_events = true
[destinations.crm]
type = "webhook"
requires = ["marketing"]
url = "URL"
[destinations.vendor]
type = "null"
requires = ["measurement"]
tcf_vendor_id = 2
"""


@pytest.fixture
def held(receiver: Receiver) -> Any:
    held = Held()
    receiver.answer = held
    yield held
    held.release.set()


def post(running: System, headers: dict[str, str], *events: dict[str, Any]) -> None:
    body = json.dumps({"batch": events, "writeKey": WRITE_KEY}).encode()
    assert running.request("POST", "/v1/batch", body, headers)[0] == 200


def stored(running: System) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (running.data_dir.root / "events.jsonl").read_text().splitlines()]


def test_statements_2_39_42_and_45_hold_in_the_whole_system(system: MakeSystem, receiver: Receiver) -> None:
    running = system(PLACES.replace("URL", receiver.url)).start()
    vendors = ((10, 16), (0, 1), *((int(n == 2), 1) for n in range(1, 11)))
    allowed = f"{written(core(vendors=vendors))}.{disclosed(2)}"
    american, german, signalling = (track(subject=name) for name in ("us", "de", "gpc"))
    notice = {
        **track(subject="us"),
        "event": "Segment Consent Preference Updated",
        "context": {"consent": {"categoryPreferences": {"marketing": False}}, "ip": "192.0.2.7"},
    }
    post(running, {"X-Country": "US"}, american)
    running.until_delivered("crm", 1)
    post(running, {"X-Country": "DE"}, german)
    post(running, {"X-Country": "US", "Sec-GPC": "1"}, signalling)
    post(running, {"X-Country": "US"}, notice, track(subject="us"))
    post(
        running,
        {"X-Country": "DE"},
        {**track(subject="de"), "gdpr_consent": allowed},
        {**track(subject="other"), "gdpr_consent": written(core())},
    )
    archive = running.until_delivered("archive", 7)
    crm = running.until("crm", "done with seven", lambda one: one.pending == 0)
    vendor = running.until("vendor", "done with seven", lambda one: one.pending == 0)

    assert archive.delivered == 7
    assert receiver.ids() == [american["messageId"]]
    assert crm.denied_by is not None
    assert crm.denied_by["event_type"] == 1
    (told,) = [event for event in stored(running) if event["messageId"] == notice["messageId"]]
    assert set(told) == {"receivedAt", "type", "event", "messageId", "timestamp", "anonymousId", "context"}
    assert told["context"] == {"consent": {"categoryPreferences": {"marketing": False}}}
    # Where silence means yes, it does for the vendor as well; of the two TC strings one allows it.
    assert vendor.delivered == 4


def test_statement_7_a_requirement_of_the_type_is_only_left_out_when_it_is_said_so(system: MakeSystem) -> None:
    running = system(
        '[destinations.archive]\ntype = "file"\nrequires = ["necessary"]\npath = "e.jsonl"\n'
        "override_plugin_consent = true\n"
    ).start()

    shown = json.loads(running.admin("status", "--json").stdout)

    assert shown["destinations"][0]["overrides_plugin_consent"] is True


def test_an_application_is_told_what_its_denial_stops(system: MakeSystem, receiver: Receiver, held: Held) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    events = [track(number, consent=YES, subject="anne") for number in range(50)]
    running.post(events[:1])
    poll("a call to have begun", lambda: held.begun)
    running.post(events[1:])

    granted = running.client._ask("sluicegate.router", SetConsent("r1", {"marketing": True}, None, "anne"))
    denied = running.client._ask("sluicegate.router", SetConsent("r2", {"measurement": False}, None, "anne"))
    held.release.set()

    assert isinstance(granted, ConsentRecorded)
    assert isinstance(denied, ConsentRecorded)
    assert (granted.stopped, granted.in_flight) == ({}, {})
    assert (denied.stopped, denied.in_flight, denied.complete) == ({"crm": 49}, {"crm": 1}, True)
    running.until("crm", "done", lambda one: one.denied == 49 and one.delivered == 1)
