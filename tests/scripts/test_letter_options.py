from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.delivery.letters import DeadLetter, DeadLetters, LetterFilter
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.scripts.admin import main

NOON_MS = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    where = DataDir(tmp_path / "data")
    where.create()
    return where


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-5")
        time.tzset()
        yield
    time.tzset()


def bury(where: DataDir, destination: str, *minutes: int, reason: str = "400", message_id: str = "m-{}") -> None:
    """Dead letters of a destination that entered so many minutes after noon."""
    store = DestinationStore.open(where.stores / f"{destination}.db", start=0)
    try:
        store.claim(1)
        store.commit(
            1,
            cursor=len(minutes),
            dead_letters=[letter(n, at, reason, message_id.format(at)) for n, at in enumerate(minutes, 1)],
        )
    finally:
        store.close()


def letter(offset: int, minute: int, reason: str, message_id: str) -> DeadLetter:
    at_ms = NOON_MS + minute * MINUTE_MS
    return DeadLetter(offset, message_id, Combo("track", "web"), b"{}", reason, 1, at_ms, at_ms, at_ms)


def listed(where: DataDir, *options: str) -> list[str]:
    answer = CliRunner().invoke(main, ["dead-letters", "list", "--json", "--data-dir", str(where.root), *options])
    assert answer.exit_code == 0, answer.stderr
    return [row["messageId"] for row in json.loads(answer.stdout)]


@pytest.mark.usefixtures("far_from_utc")
def test_time_without_an_offset_is_utc_as_in_the_list(where: DataDir) -> None:
    bury(where, "crm", -1, 0, 1)

    assert listed(where, "--since", "2026-01-31T12:00") == ["m-0", "m-1"]
    assert listed(where, "--until", "2026-01-31T12:00") == ["m--1"]
    assert listed(where, "--since", "2026-01-31T13:01+01:00") == ["m-1"]


def test_letters_of_all_destinations_are_listed_oldest_first(where: DataDir) -> None:
    bury(where, "ads", 1, 4)
    bury(where, "crm", 0, 3)
    bury(where, "mail", 2)

    assert listed(where) == ["m-0", "m-1", "m-2", "m-3", "m-4"]
    assert listed(where, "--limit", "3") == ["m-0", "m-1", "m-2"]


@pytest.mark.parametrize("option", ["--reason", "--destination", "--since", "--until"])
def test_empty_filter_is_refused_and_drops_nothing(where: DataDir, option: str) -> None:
    bury(where, "crm", 0, 1)

    answer = CliRunner().invoke(main, ["dead-letters", "drop", option, "", "--data-dir", str(where.root)])

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"{option} is empty" in answer.stderr
    assert listed(where) == ["m-0", "m-1"]


def test_drop_leaves_letters_that_enter_meanwhile(where: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(where, "crm", 0, 1, 2)
    drop, n_entered = DeadLetters.drop, itertools.count(4)

    def drop_while_others_enter(self: DeadLetters, chosen: LetterFilter) -> int:
        if (number := next(n_entered)) < 10:
            store = DestinationStore.open(where.store("crm"), start=0)
            store.commit(1, cursor=number, dead_letters=[letter(number, number, "400", f"new-{number}")])
            store.close()
        return drop(self, chosen)

    monkeypatch.setattr(DeadLetters, "drop", drop_while_others_enter)
    monkeypatch.setattr("sluicegate.scripts.replaying.CHUNK", 2)

    answer = CliRunner().invoke(main, ["dead-letters", "drop", "--all", "--data-dir", str(where.root)])

    assert answer.exit_code == 0, answer.stderr
    assert listed(where) == ["new-4", "new-5"]


@pytest.mark.parametrize("asked", ["Élevée", "QUOTA Élevée", "quota"])
def test_letter_is_found_by_the_very_text_of_its_reason(where: DataDir, asked: str) -> None:
    bury(where, "crm", 0, reason="Quota Élevée")

    assert listed(where, "--reason", asked) == ["m-0"]


@pytest.mark.parametrize(
    "options",
    [
        ("list", "--limit", "99999999999999999999"),
        ("list", "--since", "999999999999999d"),
        ("show", "crm", "99999999999999999999"),
    ],
)
def test_number_that_no_store_can_hold_is_no_traceback(where: DataDir, options: tuple[str, ...]) -> None:
    bury(where, "crm", 0)

    answer = CliRunner().invoke(main, ["dead-letters", *options, "--data-dir", str(where.root), "--json"])

    assert answer.exit_code == (0 if "--since" in options else 2), answer.exception


@pytest.mark.parametrize("command", ["list", "drop --all", "replay --dry-run"])
def test_stores_that_cannot_be_looked_at_are_no_absence_of_letters(where: DataDir, command: str) -> None:
    where.stores.rmdir()
    where.stores.touch()  # as unreadable as the folder of another user

    answer = CliRunner().invoke(main, ["dead-letters", *command.split(), "--data-dir", str(where.root)])

    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"{where.stores}: Not a directory" in answer.stderr


def test_control_characters_of_an_event_are_shown_and_not_obeyed(where: DataDir) -> None:
    bury(where, "crm", 0, message_id="m\x1b]0;owned\x07\x1b[2J[/x]")

    answer = CliRunner().invoke(main, ["dead-letters", "list", "--data-dir", str(where.root)])

    assert answer.exit_code == 0, answer.exception
    assert "\x1b" not in answer.stdout and "\x07" not in answer.stdout
    assert "m\\x1b]0;owned\\x07\\x1b[2J[/x]" in answer.stdout
