from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.harness import System, poll, track
from tests.end_to_end.receiver import Receiver

DESTINATIONS = """
[logs]
format = "json"
level = "{level}"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.crm]
type = "webhook"
requires = ["necessary"]
url = "{url}"
"""


def lines_about(system: System, message_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in system.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("message_id") == message_id]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", {("gateway", "accepted"), ("archive", "delivered"), ("crm", "dead letter")}),
        ("info", {("crm", "dead letter")}),
    ],
)
def test_one_event_can_be_followed_through_the_log(
    system: Callable[..., System], receiver: Receiver, level: str, expected: set[tuple[str, str]]
) -> None:
    receiver.answer = lambda body: (400, {})
    one = system(DESTINATIONS.format(level=level, url=receiver.url)).start()
    event = track()
    message_id = event["messageId"]

    one.post([event])
    one.until_delivered("archive", 1)
    one.until("crm", "refused", lambda s: s.dead == 1)
    poll("all lines", lambda: len(lines_about(one, message_id)) >= len(expected))

    lines = lines_about(one, message_id)
    assert {(line.get("destination", line["part"]), line["message"]) for line in lines} == expected
    (dead,) = [line for line in lines if line["message"] == "dead letter"]
    assert dead["attempts"] == 1
    assert "400" in dead["reason"]


def test_rejected_event_is_named_at_debug(system: Callable[..., System]) -> None:
    one = system('[logs]\nformat = "json"\nlevel = "debug"\n').start()
    event = {**track(), "event": ""}

    assert one.post([event])["rejected"] != []

    (line,) = poll("the line", lambda: lines_about(one, event["messageId"]))
    assert (line["part"], line["message"]) == ("gateway", "rejected")
    assert "event" in line["reason"]
