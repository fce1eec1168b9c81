from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.end_to_end.harness import WRITE_KEY, System, track

MakeSystem = Callable[..., System]

CONFIG = """
[destinations.mirror]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
receives_consent_events = true
[destinations.crm]
type = "null"
requires = ["measurement"]
"""
WHEN = "2026-01-31T10:00:00.000Z"
SEGMENT = {"context": {"consent": {"categoryPreferences": {"marketing": True}}}}


def tell(running: System, **body: Any) -> tuple[int, dict[str, Any]]:
    sent = json.dumps({"writeKey": WRITE_KEY, **body}).encode()
    status, answer = running.request("POST", "/v1/consent", sent)
    return status, json.loads(answer)


def heard(running: System, count: int) -> list[dict[str, Any]]:
    """The notices that the one destination got that wants them; nobody else got any, and no account is off."""
    running.until_delivered("mirror", count)
    crm = running.until("crm", "done", lambda one: one.pending == 0)
    assert (crm.delivered, crm.denied_by) == (0, {"event_type": count})
    return [json.loads(line) for line in (running.data_dir.root / "events.jsonl").read_text().splitlines()]


def said(event: dict[str, Any]) -> tuple[str | None, str | None, dict[str, bool]]:
    return event.get("userId"), event.get("anonymousId"), event["context"]["consent"]["categoryPreferences"]


def test_statement_39_every_way_of_deciding_is_heard_of_once(system: MakeSystem) -> None:
    running = system(CONFIG).start()

    assert tell(running, userId="anne", preferences={"marketing": False}, decidedAt=WHEN)[0] == 200
    assert tell(running, userId="anne", preferences={"marketing": False}, decidedAt=WHEN)[0] == 200
    running.client.set_consent({"marketing": True}, user_id="ben", anonymous_id="phone")
    running.client.set_consent({"marketing": False}, user_id="ben", decided_at=datetime(2026, 1, 31, tzinfo=UTC))
    set_ = running.admin("consent", "set", "--user-id", "cleo", "--grant", "measurement", "--deny", "marketing")
    withdrawn = running.admin("consent", "withdraw", "--anonymous-id", "dora", "measurement")
    events = heard(running, 5)

    assert (set_.returncode, withdrawn.returncode) == (0, 0)
    assert [said(event) for event in events] == [
        ("anne", None, {"marketing": False}),
        ("ben", "phone", {"marketing": True}),
        ("ben", None, {"marketing": False}),
        ("cleo", None, {"marketing": False, "measurement": True}),
        (None, "dora", {"measurement": False}),
    ]
    assert {event["event"] for event in events} == {"Segment Consent Preference Updated"}
    assert events[0]["timestamp"] == WHEN
    allowed = {"receivedAt", "type", "event", "messageId", "timestamp", "userId", "anonymousId", "context"}
    assert all(set(event) <= allowed and list(event["context"]) == ["consent"] for event in events)


def test_notice_of_an_answered_decision_survives_kill_9_and_commands_work_while_nothing_runs(
    system: MakeSystem,
) -> None:
    running = system(CONFIG).start()
    tell(running, userId="anne", preferences={"marketing": False}, decidedAt=WHEN)
    running.kill()

    stopped = running.admin("consent", "set", "--user-id", "ben", "--deny", "marketing", "--at", WHEN)
    again = running.admin("consent", "set", "--user-id", "ben", "--deny", "marketing", "--at", WHEN)
    running.start()
    tell(running, userId="anne", preferences={"marketing": False}, decidedAt=WHEN)
    running.post([{**track(subject="zoe"), "event": "Segment Consent Preference Updated", **SEGMENT}])
    events = heard(running, 3)

    assert (stopped.returncode, again.returncode) == (0, 0)
    assert [event.get("userId") for event in events] == ["anne", "ben", None]
    assert len({event["messageId"] for event in events}) == 3


def test_nothing_is_stored_where_nobody_wants_to_hear_of_it(system: MakeSystem) -> None:
    running = system(CONFIG.replace("receives_consent_events = true\n", "")).start()

    tell(running, userId="anne", preferences={"marketing": False})
    running.client.set_consent({"marketing": True}, user_id="ben")
    running.admin("consent", "withdraw", "--user-id", "cleo", "--all")
    running.post([track()])

    mirror = running.until_delivered("mirror", 1)
    assert mirror.accepted == 1


def test_decision_of_a_suppressed_person_is_told_to_nobody(system: MakeSystem) -> None:
    running = system(CONFIG).start()
    assert running.admin("suppress", "--user-id", "anne").returncode == 0

    tell(running, userId="anne", preferences={"marketing": True})
    running.client.set_consent({"marketing": True}, user_id="anne")
    running.admin("consent", "set", "--user-id", "anne", "--grant", "marketing")
    tell(running, userId="ben", preferences={"marketing": True})

    assert [said(event) for event in heard(running, 1)] == [("ben", None, {"marketing": True})]
