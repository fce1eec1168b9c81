from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

from tests.end_to_end.harness import MakeSystem, poll, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_audit import exported, verified, words_of
from tests.end_to_end.test_explain import explained
from tests.end_to_end.test_withdrawal import tell

CONFIG = """
[destinations.safe]
type = "webhook"
requires = ["measurement"]
url = "{url}"
on_denied = "redact"
[destinations.strict]
type = "null"
requires = ["measurement"]
"""
NO, YES = {"measurement": False}, {"measurement": True}


def person(number: int, *, subject: str, consent: dict[str, bool] | None) -> dict[str, Any]:
    """An event that tells all about its person."""
    event = track(number, subject=subject, consent=consent)
    context = {**event.get("context", {}), "ip": "203.0.113.9", "traits": {"email": f"{subject}@example.com"}}
    return {**event, "userId": f"user-{subject}", "context": context}


def told_of(events: list[dict[str, Any]], subject: str) -> bool:
    return subject in json.dumps(events) or "203.0.113.9" in json.dumps(events)


def test_refused_event_starts_its_destination_and_arrives_without_the_person(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    refused = person(1, subject="anne-the-first", consent=NO)

    running.post([refused, {**refused, "type": "identify", "messageId": "m-identify"}])
    safe = running.until_delivered("safe", 1)
    stripped = list(receiver.events)
    granted = person(2, subject="ben-the-second", consent=YES)
    running.post([granted])
    running.until_delivered("safe", 2)
    strict = running.until("strict", "settled", lambda one: one.pending == 0)

    assert not told_of(stripped, "anne-the-first")
    assert stripped[0]["properties"] == {"number": 1}
    assert stripped[0]["messageId"] != refused["messageId"]
    assert receiver.events[-1]["userId"] == "user-ben-the-second"
    assert (safe.redacted, safe.denied_by) == (1, {"consent_denied": 1})
    assert (strict.delivered, strict.denied_by) == (1, {"consent_denied": 2})
    assert b'sluicegate_destination_redacted{destination="safe"} 1.0' in running.request("GET", "/metrics")[1]


def test_what_the_ledger_refused_goes_redacted_and_what_it_refuses_later_does_not_go(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    undecided = person(1, subject="anne-the-first", consent=None)
    running.post([undecided])
    running.until("safe", "holding one", lambda one: one.held == 1)

    tell(running, "anne-the-first", measurement=False)
    running.post([person(2, subject="anne-the-first", consent=None)])
    safe = running.until_delivered("safe", 1)

    assert [event["properties"] for event in receiver.events] == [{"number": 2}]
    assert not told_of(receiver.events, "anne-the-first")
    assert (safe.redacted, safe.held, safe.denied_by) == (1, 0, {"consent_denied": 1})


def test_after_kill_9_a_refused_event_comes_again_redacted_with_the_same_id(
    system: MakeSystem, receiver: Receiver
) -> None:
    seen: list[dict[str, Any]] = []
    release, arrived = threading.Event(), threading.Event()

    def hang(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        seen.extend(body["batch"])
        arrived.set()
        release.wait(30)
        return 200, {}

    receiver.answer = hang
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post([person(1, subject="anne-the-first", consent=NO)])
    assert arrived.wait(30)

    pid = running.status("safe").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    poll("its process to be replaced", lambda: len(seen) > 1)
    release.set()
    safe = running.until_delivered("safe", 1)

    assert len(seen) == 2
    assert len({event["messageId"] for event in seen}) == 1
    assert not told_of(seen, "anne-the-first")
    assert safe.redacted == 1


def test_proof_and_explain_say_what_went_redacted_and_why(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    by_stamp, whole = person(1, subject="anne", consent=NO), person(2, subject="ben", consent=YES)
    running.post([by_stamp, whole])
    running.until_delivered("safe", 2)
    tell(running, "cleo", measurement=False)
    by_ledger = person(3, subject="cleo", consent=None)
    running.post([by_ledger])
    running.until_delivered("safe", 3)
    assert running.admin("pause", "safe").returncode == 0
    waiting = person(4, subject="anne", consent=NO)
    running.post([waiting])

    found = verified(running)["safe"]
    words = exported(running, "safe")
    why = [explained(running, event, "safe") for event in (by_stamp, whole, by_ledger, waiting)]
    story = running.admin("explain", by_ledger["messageId"], "safe").stdout

    assert found["decided"] == {"delivered": 1, "redacted": 2}
    assert [words[offset] for offset in (1, 2, 3)] == ["delivered:redacted", "delivered", "delivered:redacted"]
    assert +words_of(running, "safe") == {"delivered": 1, "delivered:redacted": 2}
    assert [(one["outcome"], one["decision"]) for one in why] == [
        ("delivered", "redacted"),
        ("delivered", "delivered"),
        ("delivered", "redacted"),
        ("pending", None),
    ]
    assert why[0]["why"].startswith("redacted: requires measurement; the event says measurement: denied")
    assert why[3]["why"].startswith("paused by an operator, and will go without the person")
    assert "Redacted: delivered without the person in it, because a purpose that is required was refused" in story
    assert "The denial is version" in story
