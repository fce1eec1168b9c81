from __future__ import annotations

import json
from typing import Any

from tests.end_to_end.harness import MakeSystem, System, track
from tests.end_to_end.receiver import Receiver
from tests.end_to_end.test_withdrawal import tell

CONFIG = """
[consent]
hold_ttl = "20m"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "{url}"
[destinations.crm.map]
skip = ["Skipped"]
[destinations.pages]
type = "null"
requires = ["necessary"]
events = ["page"]
"""
YES, NO = {"measurement": True}, {"measurement": False}


def explained(running: System, event: dict[str, Any], destination: str) -> dict[str, Any]:
    done = running.admin("explain", event["messageId"], destination, "--json")
    assert done.returncode == 0, done
    (one,) = json.loads(done.stdout)["events"]
    (fate,) = one["destinations"]
    return {**one, **fate}


def test_statement_54_explain_gives_requirement_stamp_ledger_version_slots_policy_and_decision(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    tell(running, "anne", measurement=True)
    event = track(1, subject="anne")
    running.post([event])
    running.until_delivered("crm", 1)

    told = explained(running, event, "crm")
    text = running.admin("explain", event["messageId"], "crm").stdout

    assert told["why"] == "requires measurement; the event says nothing; the ledger says measurement: granted"
    assert (told["outcome"], told["decision"]) == ("delivered", "delivered")
    assert told["requires"] == {"all": ["measurement"], "any": []}
    assert told["consent"] == {}
    assert told["ledger"]["model"] == "opt-in"
    assert told["ledger"]["version"] == told["decided"][0]["ledgerVersion"] == 1
    assert told["ledger"]["purposes"]["measurement"]["state"] == "granted"
    assert told["ledger"]["purposes"]["measurement"]["slots"]["decided"].startswith("granted ")
    for sentence in (
        "crm requires measurement.",
        "The event says nothing.",
        "Silence means no (opt-in).",
        "The ledger at version 1 knew of this person: measurement: granted (decided granted ",
        "Delivered: the destination has confirmed it, ",
        ", by ledger version 1 (audit row 1).",
    ):
        assert sentence in text


def test_what_an_event_says_does_not_command_the_terminal(system: MakeSystem, receiver: Receiver) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    event = track(1, consent={"\x1b]0;owned\x07": True})
    running.post([event])
    running.until_delivered("archive", 1)

    text = running.admin("explain", event["messageId"], "archive").stdout

    assert "The event says \\x1b]0;owned\\x07: granted." in text


def test_held_event_is_told_until_when_and_after_its_release_how_it_came_to_be_delivered(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    event = track(1, subject="anne")
    running.post([event])
    running.until("crm", "holding it", lambda one: one.held == 1)
    held = running.admin("explain", event["messageId"], "crm").stdout
    before = explained(running, event, "crm")

    tell(running, "anne", measurement=True)
    running.until_delivered("crm", 1)
    released = running.admin("explain", event["messageId"], "crm").stdout
    after = explained(running, event, "crm")

    assert (before["outcome"], before["decision"]) == ("held", "held")
    assert before["receivedAt"][:10] in held
    assert "Held: it waits for a decision; until 20" in held
    assert "measurement: undecided" in held
    assert (after["outcome"], after["decision"]) == ("delivered", "delivered")
    assert [entry["decision"] for entry in after["decided"]] == ["held", "delivered"]
    assert after["ledger"]["turnedBy"] == 1
    assert "First it was held: nobody had decided yet, " in released
    assert "The grant is version 1, recorded " in released
    assert "Delivered: the destination has confirmed it, " in released


def test_statements_15_and_21_withdrawn_while_it_waited_names_both_versions_in_one_decision(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    assert running.admin("pause", "crm").returncode == 0
    tell(running, "anne", measurement=True)
    tell(running, "ben", measurement=True)
    anne, ben = track(1, consent=YES, subject="anne"), track(2, consent=YES, subject="ben")
    running.post([anne, ben])
    tell(running, "anne", measurement=False)
    tell(running, "ben", measurement=False)
    tell(running, "ben", measurement=True)
    waiting = explained(running, ben, "crm")

    assert running.admin("resume", "crm").returncode == 0
    running.until("crm", "done", lambda one: one.pending == 0)
    told, again = explained(running, anne, "crm"), explained(running, ben, "crm")
    text = running.admin("explain", anne["messageId"], "crm").stdout

    assert waiting["outcome"] == "pending"
    assert told["decision"] == "withdrawn"
    assert told["ledger"]["acceptedVersion"] < told["ledger"]["turnedBy"] <= told["ledger"]["version"]
    assert [entry["decision"] for entry in told["decided"]] == ["withdrawn"]
    assert f"When the event was accepted the ledger was at version {told['ledger']['acceptedVersion']}." in text
    assert f"The denial is version {told['ledger']['turnedBy']}, recorded " in text
    assert [entry["decision"] for entry in again["decided"]] == ["delivered"]
    assert receiver.ids() == [ben["messageId"]]


def test_events_that_a_destination_does_not_select_or_skips_are_not_told_to_be_delivered(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    skipped, elsewhere = track(1, consent=YES, subject="anne"), track(2, consent=YES, subject="anne")
    skipped["event"] = "Skipped"
    elsewhere["integrations"] = {"crm": False}
    running.post([skipped, elsewhere])
    for name in ("archive", "crm", "pages"):
        running.until(name, "done", lambda one: one.pending == 0)

    told = [explained(running, skipped, "crm"), explained(running, elsewhere, "crm")]
    page = explained(running, skipped, "pages")
    table = running.admin("explain", elsewhere["messageId"]).stdout

    assert [(one["outcome"], one["reason"]) for one in told] == [
        ("not_selected", "filtered"),
        ("not_selected", "integrations"),
    ]
    assert (page["outcome"], page["reason"]) == ("not_selected", "event_type")
    assert "not selected" in table
    assert table.count("delivered") == 1


def test_refused_event_is_told_with_its_dead_letter_and_after_a_replay_with_both_decisions(
    system: MakeSystem, receiver: Receiver
) -> None:
    receiver.answer = lambda body: (400, {})
    running = system(CONFIG.format(url=receiver.url)).start()
    event = track(1, consent=YES, subject="anne")
    running.post([event])
    running.until("crm", "without it", lambda one: one.dead == 1)
    dead = explained(running, event, "crm")

    receiver.answer = lambda body: (200, {})
    assert running.admin("dead-letters", "replay", "--destination", "crm").returncode == 0
    running.until_delivered("crm", 1)
    told = explained(running, event, "crm")
    text = running.admin("explain", event["messageId"], "crm").stdout

    assert (dead["outcome"], dead["decision"], dead["deadLetter"]["attempts"]) == ("dead", "failed", 1)
    assert told["outcome"] == "delivered"
    assert [entry["word"] for entry in told["decided"]] == ["dead", "delivered"]
    assert "First it was given up, and a dead letter, " in text


def test_explain_tells_what_was_required_when_it_was_decided_and_what_is_now(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = system(CONFIG.format(url=receiver.url)).start()
    before, held = track(1, consent=YES, subject="anne"), track(2, subject="ben")
    running.post([before, held])
    running.until("crm", "done", lambda one: one.delivered == 1 and one.held == 1)
    running.stop()
    loose = 'type = "webhook"\nrequires = ["measurement"]'
    strict = 'type = "webhook"\nrequires = ["measurement", "marketing"]'
    running.config_path.write_text(running.config_path.read_text().replace(loose, strict))
    running.start()
    after = track(3, consent={**YES, "marketing": False}, subject="anne")
    running.post([after])
    tell(running, "ben", measurement=True, marketing=True)
    running.until("crm", "done", lambda one: (one.delivered, one.held, one.denied) == (2, 0, 1))

    old, new, released = (explained(running, event, "crm") for event in (before, after, held))
    text = running.admin("explain", before["messageId"], "crm").stdout

    both = {"all": ["measurement", "marketing"], "any": []}
    measurement = {"all": ["measurement"], "any": []}
    assert (old["required"], old["requires"]) == (measurement, both)
    assert (new["required"], new["requires"]) == (both, both)
    assert [entry["requires"] for entry in released["decided"]] == [measurement, both]
    assert "crm required measurement when this was decided." in text
    assert "crm requires measurement and marketing now." in text
    assert "required measurement when this was decided; requires measurement and marketing now" in old["why"]
    assert new["why"].startswith("consent_denied: requires measurement and marketing; the event says")
