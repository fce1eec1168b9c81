from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest

from sluicegate.paths import DataDir
from tests.faults.checker import Checker, Place
from tests.faults.scenario import RULES, Run


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run without any fault has left behind, which the tests falsify."""

    folder: Path

    def problems(self) -> list[str]:
        places = {
            "archive": Place(RULES["archive"], file=self.folder / "data" / "archive.jsonl"),
            "crm": Place(RULES["crm"], journal=self.folder / "crm.journal"),
        }
        checker = Checker(DataDir(self.folder / "data"), self.folder / "oracle.journal", places)
        checker.check({})
        return checker.problems

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of a journal, one event each."""
        lines = [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]
        return [{**line, "events": [event]} for line in lines for event in line["events"]]

    def write(self, name: str, lines: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def execute(self, file: str, sql: str) -> None:
        db = apsw.Connection(str(self.folder / "data" / file))
        db.execute(sql)
        db.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    run = Run(tmp_path_factory.mktemp("sound"), "F00", title="no fault", seed=1, long=False)
    try:
        run.start()
        run.oracle.run()
        run.oracle.more(200)
        run.settle()
        yield run.folder
    finally:
        run.close()


@pytest.fixture
def ended(sound: Path, tmp_path: Path) -> Ended:
    return Ended(shutil.copytree(sound, tmp_path / "copy"))


def test_sound_run_has_no_problems(ended: Ended) -> None:
    assert ended.problems() == []


def test_event_that_did_not_come_is_lost(ended: Ended) -> None:
    events = ended.events("crm.journal")
    missing = events.pop(7)

    ended.write("crm.journal", events)

    assert [p for p in ended.problems() if p.startswith("I1") and missing["events"][0][0] in p]


def test_event_that_is_not_in_the_log_is_lost(ended: Ended) -> None:
    ended.execute("events.db", "DELETE FROM rows WHERE first = (SELECT max(first) FROM rows)")

    assert any(p.startswith("I1: acknowledged and not in the log") for p in ended.problems())


def test_refused_event_did_not_come(ended: Ended) -> None:
    events = ended.events("crm.journal")
    events[3]["outcome"] = "refused"

    ended.write("crm.journal", events)

    assert any(p.startswith("I1") for p in ended.problems())


Falsify = Callable[[list[dict[str, Any]]], None]


def change_bytes(events: list[dict[str, Any]]) -> None:
    events[5]["events"][0][1] = "0" * 24


def add_members(events: list[dict[str, Any]]) -> None:
    events[5]["events"][0][2] = '{"receivedAt":"2026-01-01T00:00:00.000Z","sent":1}'


def invent(events: list[dict[str, Any]]) -> None:
    events[5]["events"][0][0] = "F00s1.1.99999.0"


@pytest.mark.parametrize("falsify", [change_bytes, add_members, invent])
def test_changed_event_is_noticed(ended: Ended, falsify: Falsify) -> None:
    events = ended.events("crm.journal")
    falsify(events)

    ended.write("crm.journal", events)

    assert any(p.startswith("I2") for p in ended.problems())


def test_delivery_without_consent_is_noticed_even_when_it_was_refused(ended: Ended) -> None:
    log = Checker(DataDir(ended.folder / "data"), ended.folder / "oracle.journal", {}).log
    denied = next(id_ for id_ in log if RULES["crm"].verdict(id_) == "consent_denied")
    events = ended.events("crm.journal")
    events.append({**events[0], "outcome": "refused", "events": [[denied, "", "{}"]]})

    ended.write("crm.journal", events)

    assert any(p.startswith("I3") and denied in p for p in ended.problems())


def test_events_of_one_subject_in_another_order_are_noticed(ended: Ended) -> None:
    events = ended.events("crm.journal")

    ended.write("crm.journal", events[::-1])

    assert any(p.startswith("I4") for p in ended.problems())


def test_events_delivered_again_later_are_in_order(ended: Ended) -> None:
    events = ended.events("crm.journal")

    ended.write("crm.journal", events + events[:20])

    assert ended.problems() == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE state SET delivered = delivered + 1",
        "UPDATE state SET cursor = cursor - 1",
        "UPDATE denied SET n = n + 1",
    ],
)
def test_accounts_that_are_off_by_one_are_noticed(ended: Ended, sql: str) -> None:
    ended.execute("destinations/crm.db", sql)

    assert any(p.startswith("I8") for p in ended.problems())


def test_damaged_database_is_noticed(ended: Ended) -> None:
    path = ended.folder / "data" / "destinations" / "crm.db"
    pages = bytearray(path.read_bytes())
    pages[4096 * 2 : 4096 * 2 + 64] = b"\xff" * 64

    path.write_bytes(pages)

    with pytest.raises((apsw.Error, AssertionError)):
        assert ended.problems() == []
