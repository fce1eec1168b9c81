from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from sluicegate.delivery.letters import DeadLetter, DeadLetters, LetterFilter
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo
from sluicegate.messages.control import LoadResults
from sluicegate.paths import DataDir
from sluicegate.scripts import letter_changes
from sluicegate.scripts.admin import main
from tests.end_to_end.harness import MakeSystem, System, track
from tests.end_to_end.receiver import Receiver
from tests.scripts.narrow import narrow_admin

CONFIG = """
[destinations.crm]
type = "webhook"
requires = ["measurement"]
url = "URL"
[destinations.other]
type = "webhook"
requires = ["measurement"]
url = "URL"
enabled = false
"""


def with_dead_letters(system: MakeSystem, receiver: Receiver, count: int) -> System:
    running: System = system(CONFIG.replace("URL", receiver.url)).start()
    receiver.answer = lambda body: (400, {})
    running.post([track(n, consent={"measurement": True}) for n in range(count)])
    running.until("crm", "dead", lambda s: s.dead == count)
    return running


def test_replay_tells_how_it_ended(system: MakeSystem, receiver: Receiver) -> None:
    running = with_dead_letters(system, receiver, 3)
    bad = running.admin("dead-letters", "list", "--json")
    refused = json.loads(bad.stdout)[1]["messageId"]
    receiver.answer = lambda body: (400 if refused in {e["messageId"] for e in body["batch"]} else 200, {})

    answer = running.admin("dead-letters", "replay", "--json")
    again = running.admin("dead-letters", "replay")

    assert answer.returncode == again.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {
        "dry_run": False,
        "total": 3,
        "destinations": [
            {
                "id": "crm",
                "letters": 3,
                "delivered": 2,
                "denied": 0,
                "dead": 1,
                "dropped": 0,
                "waiting": 0,
                "error": None,
            }
        ],
    }
    assert "crm: 1 dead again" in again.stdout


def test_replay_to_a_paused_destination_says_that_nothing_was_replayed(system: MakeSystem, receiver: Receiver) -> None:
    running = with_dead_letters(system, receiver, 2)
    running.admin("pause", "crm")
    running.until("crm", "paused", lambda s: s.state == "paused" and s.pid is None)

    answer = running.admin("dead-letters", "replay")
    for_programs = running.admin("dead-letters", "replay", "--json")

    assert answer.returncode == for_programs.returncode == 1
    assert "crm: 2 wait: paused by an operator" in answer.stdout
    (found,) = json.loads(for_programs.stdout)["destinations"]
    assert (found["delivered"], found["waiting"], found["error"]) == (0, 2, "paused by an operator")
    assert json.loads(for_programs.stderr)["code"] == "refused"


def test_replay_whose_destination_is_refused_meanwhile_ends_with_the_reason(
    system: MakeSystem, receiver: Receiver
) -> None:
    running = with_dead_letters(system, receiver, 1)
    receiver.answer = lambda body: (401, {})

    answer = running.admin("dead-letters", "replay", "--timeout", "60")

    assert answer.returncode == 1
    assert "crm: 1 wait: paused: " in answer.stdout and "401" in answer.stdout


def test_letters_that_consent_forbids_by_now_are_told_apart(system: MakeSystem, receiver: Receiver) -> None:
    running = with_dead_letters(system, receiver, 1)
    receiver.answer = lambda body: (200, {})
    running.admin("consent", "withdraw", "--anonymous-id", "s", "measurement")

    answer = running.admin("dead-letters", "replay", "--json")

    (found,) = json.loads(answer.stdout)["destinations"]
    assert (answer.returncode, found["denied"], found["delivered"]) == (0, 1, 0)
    assert running.status("crm").denied == 1


def test_nothing_is_dropped_before_it_is_said_what(system: MakeSystem, receiver: Receiver) -> None:
    running = with_dead_letters(system, receiver, 2)

    unsaid = running.admin("dead-letters", "drop")
    both = running.admin("dead-letters", "drop", "--all", "--reason", "400")
    counted = running.admin("dead-letters", "drop", "--dry-run", "--json")
    left = json.loads(running.admin("dead-letters", "list", "--json").stdout)
    dropped = running.admin("dead-letters", "drop", "--all", "--json")

    assert (unsaid.returncode, both.returncode, len(left)) == (2, 2, 2)
    assert "--all" in unsaid.stderr
    expected = {"dry_run": True, "total": 2, "destinations": [{"id": "crm", "letters": 2}]}
    assert json.loads(counted.stdout) == expected
    assert json.loads(dropped.stdout) == {**expected, "dry_run": False}
    assert json.loads(running.admin("dead-letters", "list", "--json").stdout) == []


def test_list_is_readable_in_80_columns(system: MakeSystem, receiver: Receiver) -> None:
    running = with_dead_letters(system, receiver, 1)
    (letter,) = json.loads(running.admin("dead-letters", "list", "--json").stdout)

    narrow = narrow_admin(running, "dead-letters", "list")

    assert max(map(len, narrow.splitlines())) <= 80
    assert letter["messageId"] in narrow
    assert letter["enteredAt"][:19].replace("T", " ") in narrow
    assert "400" in narrow and "track, 1 attempt" in narrow
    assert "..." not in narrow and "…" not in narrow


class Loaded:
    """A client of a system whose destination is loaded, and is never looked at."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask_supervisor(self, message: Any, **options: Any) -> LoadResults:
        return LoadResults(message.request_id, dict.fromkeys(message.ids))

    def status(self, *ids: str) -> tuple[()]:
        return ()


def test_letters_that_end_while_others_are_still_marked_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = DataDir(tmp_path / "data")
    where.create()
    now_ms = time.time_ns() // 1_000_000
    store = DestinationStore.open(where.store("crm"), start=0)
    store.claim(1)
    letters = [
        DeadLetter(n, f"m-{n}", Combo("track", "web"), b"{}", "400", 1, now_ms, now_ms, now_ms) for n in (1, 2, 3)
    ]
    store.commit(1, cursor=3, dead_letters=letters)
    marked: list[int] = []
    mark = DeadLetters.mark_replay

    def mark_and_deliver(self: DeadLetters, where: LetterFilter) -> int:
        """A destination that is running takes letters as soon as they are marked; it refuses the third for good."""
        marked.append(mark(self, where))
        store.settle_replay(1, delivered=[1, 2], failed={3: "400 again"}, denied={}, now_ms=now_ms)
        return marked[-1] if len(marked) < 9 else 0

    monkeypatch.setattr(DeadLetters, "mark_replay", mark_and_deliver)
    monkeypatch.setattr(letter_changes, "connect", lambda *options: Loaded())

    answer = CliRunner().invoke(main, ["dead-letters", "replay", "--json", "--data-dir", str(where.root)])

    assert answer.exit_code == 0, answer.exception
    (found,) = json.loads(answer.stdout)["destinations"]
    assert {name: found[name] for name in ("letters", "delivered", "dead", "waiting")} == {
        "letters": 3,
        "delivered": 2,
        "dead": 1,
        "waiting": 0,
    }
    assert marked == [3]
