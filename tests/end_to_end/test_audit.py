from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Any

from sluicegate.delivery.deciding import wait_until_seen
from tests.end_to_end.harness import ADS, ARCHIVE, CRM, WRITE_KEY, MakeSystem, System, poll, track
from tests.end_to_end.receiver import Receiver

CONFIG = (
    ARCHIVE
    + ADS
    + CRM
    + """
batch_size = 20
in_flight = 2
[destinations.crm.map]
skip = ["Skipped"]
"""
)
YES, NO = {"measurement": True}, {"measurement": False}


def tell(running: System, subject: str, **preferences: bool) -> None:
    body = json.dumps({"anonymousId": subject, "preferences": preferences, "writeKey": WRITE_KEY}).encode()
    status, answer = running.request("POST", "/v1/consent", body)
    assert status == 200, answer


def verified(running: System, *, code: int = 0) -> dict[str, Any]:
    done = running.admin("audit", "verify", "--json")
    assert done.returncode == code, done
    return {one["destination"]: one for one in json.loads(done.stdout)["destinations"]}


def exported(running: System, destination: str) -> dict[int, str]:
    """The final word of every event."""
    done = running.admin("audit", "export", destination)
    assert done.returncode == 0, done
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {offset: row["word"] for row in rows for offset in range(row["first"], row["last"] + 1)}


def words_of(running: System, name: str) -> Counter[str]:
    one = running.status(name)
    words = {
        "delivered": one.delivered - one.redacted,
        "delivered:redacted": one.redacted,
        "dead": one.dead,
        "expired": one.expired,
        "held": one.held,
    }
    return +Counter(words | {f"denied:{reason}": n for reason, n in (one.denied_by or {}).items()})


def mixed(n_events: int) -> list[dict[str, Any]]:
    """Granted, denied, undecided, skipped by the mapping and refused by the vendor, by turns; so is each subject."""
    events = []
    for number in range(n_events):
        event = track(number, consent=(YES, NO, None, YES, YES)[number % 5], subject=f"s{number % 35}")
        if number % 5 == 3:
            event["event"] = "Skipped"
        if number % 25 == 4:
            event["properties"]["bad"] = True
        events.append(event)
    return events


def refuses_bad(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
    return (400 if any("bad" in event["properties"] for event in body["batch"]) else 200), {}


def n_of(events: list[dict[str, Any]], *subjects: str) -> int:
    return sum(event["anonymousId"] in subjects for event in events)


def test_statement_52_every_pair_ends_in_one_decision_through_kill_9(system: MakeSystem, receiver: Receiver) -> None:
    receiver.answer = refuses_bad
    running = system(CONFIG.format(url=receiver.url)).start()
    events = mixed(600)
    running.post(events[:200])
    running.until("crm", "busy", lambda one: one.delivered > 0)
    running.post(events[200:400])
    tell(running, "s7", measurement=True)
    running.kill()
    poll("its processes to be gone", lambda: not wait_until_seen(running.data_dir.stores).loaded)
    running.start()
    tell(running, "s0", measurement=False)
    running.post(events[400:])
    tell(running, "s2", measurement=True)
    tell(running, "s12", measurement=False)

    n_held = 120 - n_of(events, "s2", "s7", "s12")
    running.until("crm", "done", lambda one: one.pending == 0 and one.held == n_held)
    for name in ("archive", "ads"):
        running.until(name, "done", lambda one: one.pending == 0)
    found = verified(running)

    assert {name: (one["accepted"], one["settled"], one["held"], one["waiting"]) for name, one in found.items()} == {
        "archive": (600, 600, 0, 0),
        "ads": (600, 0, 600, 0),
        "crm": (600, 600 - n_held, n_held, 0),
    }
    for name in ("archive", "ads", "crm"):
        words = exported(running, name)
        assert sorted(words) == list(range(1, 601))
        assert Counter(words.values()) == words_of(running, name)
    assert found["archive"]["decided"] == {"delivered": 600}
    assert set(found["crm"]["decided"]) >= {"delivered", "denied", "not_selected", "failed"}
    assert found["crm"]["decided"]["failed"] == running.status("crm").dead > 0


def test_statement_53_replay_and_restart_leave_one_final_decision_and_a_whole_chain(
    system: MakeSystem, receiver: Receiver
) -> None:
    receiver.answer = refuses_bad
    running = system(CONFIG.format(url=receiver.url)).start()
    running.post(mixed(100))
    running.until("crm", "done", lambda one: one.pending == 0)
    assert running.status("crm").dead == 4
    tell(running, "s4", measurement=False)

    receiver.answer = lambda body: (200, {})
    assert running.admin("dead-letters", "replay", "--destination", "crm").returncode == 0
    running.until("crm", "without dead letters", lambda one: one.dead == 0)
    running.stop()
    stopped = verified(running)
    running.start()

    assert verified(running)["crm"] == stopped["crm"]
    assert stopped["crm"]["fault"] is None
    assert Counter(exported(running, "crm").values()) == words_of(running, "crm")
    assert words_of(running, "crm")["denied:withdrawn"] == 1


def test_statement_53_audit_holds_no_payload_and_no_id_and_names_the_row_that_was_changed(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    event = track(1, consent=YES, subject="anne-of-the-test")
    running.post([event])
    running.until_delivered("crm", 1)
    running.stop()
    connection = sqlite3.connect(running.data_dir.store("crm"))
    kept = (
        connection.execute("SELECT * FROM decisions").fetchall()
        + connection.execute("SELECT * FROM decisions_before").fetchall()
    )

    connection.execute("UPDATE decisions SET at_ms = at_ms - 1")
    connection.commit()
    connection.close()
    done = running.admin("audit", "verify")

    assert not any(secret in repr(kept) for secret in ("anne", event["messageId"], "Tested", "127.0.0.1"))
    assert done.returncode == 1
    assert "crm: BROKEN: row 1 is not what was written" in done.stderr
    assert verified(running, code=1)["archive"]["fault"] is None
