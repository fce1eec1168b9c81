from __future__ import annotations

import json
from typing import Any

from tests.end_to_end.harness import MakeSystem, track
from tests.end_to_end.receiver import Receiver

CONFIG = """
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "URL"
"""


def test_refused_events_are_isolated_listed_replayed_and_dropped(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.replace("URL", receiver.url)).start()
    events = [track(n, consent={"measurement": True}) for n in range(40)]
    bad = {events[7]["messageId"], events[23]["messageId"]}
    calls: list[int] = []

    def refuse_bad(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        calls.append(len(body["batch"]))
        return (400 if bad & {e["messageId"] for e in body["batch"]} else 200), {}

    receiver.answer = refuse_bad
    running.post(events)
    settled = running.until("crm", "settled", lambda s: s.pending == 0)
    listed = json.loads(running.admin("dead-letters", "list", "--json").stdout)
    shown = json.loads(running.admin("dead-letters", "show", "crm", str(listed[0]["id"])).stdout)
    counted = running.admin("dead-letters", "replay", "--destination", "crm", "--dry-run")
    unchanged = running.status("crm")
    bad.remove(listed[0]["messageId"])
    replayed = running.admin("dead-letters", "replay", "--destination", "crm")
    after = running.until("crm", "settled again", lambda s: s.delivered == 39)
    dropped = running.admin("dead-letters", "drop", "--reason", "400")
    left = json.loads(running.admin("dead-letters", "list", "--json").stdout)

    assert (settled.delivered, settled.dead) == (38, 2)
    assert len(calls) <= 1 + 2 * 2 * 6 + 2
    assert {row["messageId"] for row in listed} == {events[7]["messageId"], events[23]["messageId"]}
    assert "400" in listed[0]["reason"]
    assert shown["event"]["messageId"] == listed[0]["messageId"]
    assert len(shown["configHash"]) == 32 and listed[0]["configHash"] == listed[1]["configHash"] == shown["configHash"]
    assert shown["ledgerVersion"] == listed[0]["ledgerVersion"] >= 1
    assert "2 dead letters" in counted.stdout and unchanged.dead == 2
    assert replayed.returncode == 0, replayed.stderr
    assert (after.delivered, after.dead) == (39, 1)
    assert dropped.returncode == 0
    assert left == []
    assert running.status("crm").dead == 1


def test_retry_after_is_honoured_and_nothing_is_lost(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.replace("URL", receiver.url)).start()
    answers = [(429, {"Retry-After": "1"}), (503, {}), (200, {})]
    receiver.answer = lambda body: answers.pop(0) if len(answers) > 1 else answers[0]

    running.post([track(n, consent={"measurement": True}, subject="one") for n in range(10)])
    running.until_delivered("crm", 10)

    assert [event["properties"]["number"] for event in receiver.events] == list(range(10))
    assert len({h["Idempotency-Key"] for h in receiver.headers}) == 1


def test_refused_credentials_pause_the_destination_and_resume_delivers(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.replace("URL", receiver.url)).start()
    receiver.answer = lambda body: (401, {})
    running.post([track(consent={"measurement": True}) for _ in range(3)])
    paused = running.until("crm", "paused", lambda s: s.state == "paused")

    receiver.answer = lambda body: (200, {})
    running.admin("resume", "crm")
    delivered = running.until_delivered("crm", 3)

    assert (paused.pending, paused.dead) == (3, 0)
    assert "401" in (paused.reason or "")
    assert delivered.dead == 0
