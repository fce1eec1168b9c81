from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import pytest
import zstandard

from sluicegate.paths import DataDir
from tests.faults.books import Books, Counts, Sighting
from tests.faults.canaries import ADS_TOKEN, CRM_TOKEN, WRITE_KEYS
from tests.faults.checker import Checker, Held, Place
from tests.faults.events import subject_of
from tests.faults.judging import SETTLE_S, SILENCE_S, TRUTH_S, Channel, Observed, Resources, Settling, problems_of
from tests.faults.layout import RULES
from tests.faults.record import new_record
from tests.faults.scenario import Run


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run without any fault has left behind, which the tests falsify."""

    folder: Path
    seen: Observed

    def checker(self, **options: Any) -> Checker:
        places = {
            "archive": Place(RULES["archive"], file=self.folder / "data" / "archive.jsonl"),
            "crm": Place(RULES["crm"], journal=self.folder / "crm.journal"),
        }
        return Checker(DataDir(self.folder / "data"), self.folder / "oracle.journal", places, **options)

    def problems(self, **options: Any) -> list[str]:
        checker = self.checker(**options)
        checker.check({})
        return checker.problems

    def judged(self, **changed: Any) -> list[str]:
        """What is found by what was seen from outside, with some of it changed."""
        return list(problems_of(self.checker(), replace(self.seen, **changed), healthy="crm"))

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
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    run = Run(tmp_path_factory.mktemp("sound"), new_record("F00", "no fault", seed=1, long=False))
    try:
        run.start()
        run.oracle.run()
        run.baseline()
        run.fired("nothing")
        run.oracle.more(200)
        run.settle()
        yield run.observed()
    finally:
        run.close()


@pytest.fixture
def ended(sound: Observed, tmp_path: Path) -> Ended:
    copy = shutil.copytree(sound.folder, tmp_path / "copy")
    return Ended(copy, replace(sound, folder=copy))


def test_sound_run_has_no_problems(ended: Ended) -> None:
    assert ended.problems() == []
    assert ended.judged() == []


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


def test_event_that_was_refused_and_is_no_dead_letter_is_noticed(ended: Ended) -> None:
    found = ended.problems(particular={"crm"})

    assert any(p.startswith("I1: refused by crm, and no dead letters") for p in found)
    assert any(p.startswith("I2: crm has taken what it refuses") for p in found)


def test_event_that_was_dropped_where_it_should_be_held_is_noticed(ended: Ended) -> None:
    found = ended.problems(held=Held(60.0, {}))

    assert any(p.startswith("I8: crm: denied") and "consent_undecided" in p for p in found)


def test_event_that_was_granted_while_it_was_held_is_owed(ended: Ended) -> None:
    log = Checker(DataDir(ended.folder / "data"), ended.folder / "oracle.journal", {}).log
    undecided = next(id_ for id_ in log if RULES["crm"].undecided(id_))
    now = time.time()

    granted = ended.problems(held=Held(3_600.0, {subject_of(undecided): {"measurement": now}}))
    too_late = ended.problems(held=Held(3_600.0, {subject_of(undecided): {"measurement": now + 7_200}}))

    assert any(p.startswith("I1") and "lost to crm" in p for p in granted)
    assert not any(p.startswith("I1") for p in too_late)


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


# -- what is seen from outside ----------------------------------------------------------------------------------------


def test_destination_that_feels_the_fault_of_another_is_noticed(ended: Ended) -> None:
    assert ended.seen.during is not None
    began, healed = ended.seen.during
    events = ended.events("crm.journal")
    for event in events:
        event["t"] += 10 if began < event["t"] < healed else 0

    ended.write("crm.journal", events)

    assert any(p.startswith("I5: crm had no fault") for p in ended.judged())


def test_gateway_that_feels_a_fault_is_noticed(ended: Ended) -> None:
    assert ended.seen.during is not None
    began, healed = ended.seen.during
    lines = [json.loads(line) for line in (ended.folder / "oracle.journal").read_bytes().splitlines()]
    for line in lines:
        line["t"] -= 10 if began < line["t"] < healed and line["what"] == "sent" else 0

    ended.write("oracle.journal", lines)

    assert any(p.startswith("I5: the gateway had no fault") for p in ended.judged())


def test_isolation_needs_something_to_compare_with(ended: Ended) -> None:
    assert any(p.startswith("vacuous") for p in ended.judged(before=None))
    assert any(p.startswith("vacuous") for p in ended.judged(during=(0.0, 1.0)))


def opened(sighting: Sighting, *, answered_at: float) -> Sighting:
    """The same accounts at another moment, with an open circuit breaker."""
    of = {name: replace(counts, breaker="open") for name, counts in sighting.of.items()}
    return replace(sighting, asked_at=answered_at, answered_at=answered_at, of=of)


def test_slow_settling_is_noticed_but_for_the_time_of_an_open_breaker(ended: Ended) -> None:
    began, last = ended.seen.watched[0], ended.seen.statuses[-1]
    late = Settling(began, settled_s=SETTLE_S + 5)
    waiting = [opened(last, answered_at=began + second) for second in range(11)]

    assert any(p.startswith("I6: nothing waited") for p in ended.judged(settling=late))
    assert not any(p.startswith("I6") for p in ended.judged(settling=late, statuses=waiting))
    assert any(p.startswith("I6: nothing waited") for p in ended.judged(settling=late, statuses=waiting[:3]))
    assert any(p.startswith("I6: fresh") for p in ended.judged(settling=Settling(began, fresh_s=SETTLE_S + 1)))


@pytest.mark.parametrize("found", [Resources(1 << 40), Resources(fds=1 << 20), Resources(fds_at_rest=1_000)])
def test_resources_without_bounds_are_noticed(ended: Ended, found: Resources) -> None:
    assert any(p.startswith("I7") for p in ended.judged(resources=found))


CHANNELS: tuple[tuple[Channel, str], ...] = (("status", "statuses"), ("metrics", "metrics"))


@pytest.mark.parametrize(("channel", "field"), CHANNELS)
def test_silence_is_noticed_but_for_the_time_of_a_fault(ended: Ended, channel: Channel, field: str) -> None:
    began, ended_at = ended.seen.watched
    watched = (began - SILENCE_S - 5, ended_at)
    down = [(channel, (began - SILENCE_S, began - 1))]

    assert any(p.startswith("I8: for") and channel in p for p in ended.judged(watched=watched))
    assert not any(p.startswith("I8: for") and channel in p for p in ended.judged(watched=watched, down=down))
    assert any(p == f"vacuous: nothing was seen of the {channel}" for p in ended.judged(**{field: []}))


@pytest.mark.parametrize("field", ["statuses", "metrics"])
@pytest.mark.parametrize("what", ["accepted", "delivered"])
def test_answer_that_is_behind_the_truth_is_noticed(ended: Ended, field: str, what: str) -> None:
    last = getattr(ended.seen, field)[-1]
    of = {name: replace(counts, **{what: getattr(counts, what) - 1}) for name, counts in last.of.items()}
    stale = Sighting(last.asked_at + TRUTH_S + 1, last.answered_at + TRUTH_S + 1, of)

    judged = ended.judged(**{field: [*getattr(ended.seen, field), stale]})

    assert any(p.startswith("I8") and "before" in p for p in judged)


@pytest.mark.parametrize("field", ["statuses", "metrics"])
def test_answer_that_is_ahead_of_the_truth_is_noticed(ended: Ended, field: str) -> None:
    first = getattr(ended.seen, field)[0]
    ahead = replace(first, of={**first.of, "crm": replace(first.of["crm"], delivered=1 << 30)})

    assert any(p.startswith("I8") and "had taken" in p for p in ended.judged(**{field: [ahead]}))


def test_metrics_that_do_not_say_what_the_status_says_are_noticed(ended: Ended) -> None:
    last = ended.seen.metrics[-1]
    other = replace(last, of={**last.of, "crm": replace(last.of["crm"], dead=last.of["crm"].dead + 1)})

    assert any(p.startswith("I8: in the end") for p in ended.judged(metrics=[*ended.seen.metrics, other]))


def counts(**changed: Any) -> dict[str, Counts]:
    own = {"accepted": 9, "delivered": 6, "pending": 1, "held": 0, "dead": 0, "denied": 2, "expired": 0}
    return {"crm": Counts(**{**own, "denied_by": {"consent_denied": 2}, "state": "ready", **changed})}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([counts(pending=2)], "do not add up"),
        ([counts(denied_by={"consent_denied": 1})], "denials"),
        ([counts(), counts(delivered=5, pending=2)], "delivered of crm in the metrics fell"),
        ([counts(), counts(accepted=8, pending=0)], "accepted of crm in the metrics fell"),
        ([counts(state="removed"), counts(accepted=8, pending=0)], ""),
    ],
)
def test_accounts_that_cannot_be_are_noticed_as_they_come(answers: list[dict[str, Counts]], problem: str) -> None:
    books = Books("metrics")

    for number, of in enumerate(answers):
        books.enter(Sighting(number, number, of))

    assert [problem in found for found in books.problems] == ([True] if problem else [])


@pytest.mark.parametrize("secret", [*WRITE_KEYS.values(), CRM_TOKEN, ADS_TOKEN])
@pytest.mark.parametrize("place", ["serve.log", "data/logs/actors.log", "data/destinations/new"])
def test_secret_in_a_file_is_noticed(ended: Ended, place: str, secret: str) -> None:
    with (ended.folder / place).open("a") as file:
        file.write(f"{{{secret}}}\n")

    assert any(p.startswith(f"I10: {secret} stands in {place}") for p in ended.judged())


def test_secret_in_the_log_of_events_is_noticed_though_it_is_compressed(ended: Ended) -> None:
    payload = b'{"messageId":"F00","key":"%s","n":"%s"}' % (CRM_TOKEN.encode(), b"a" * 5_000)
    db = apsw.Connection(str(ended.folder / "data" / "events.db"))
    db.execute(
        "UPDATE rows SET payload = ?, n_bytes = ? WHERE first = (SELECT max(first) FROM rows)",
        (zstandard.compress(payload), len(payload)),
    )
    db.close()

    assert any(p.startswith("I10") and "event log" in p for p in ended.judged())


def test_secret_in_a_status_or_a_command_line_is_noticed(ended: Ended) -> None:
    shown = "Basic " + base64.b64encode(f"{WRITE_KEYS['web']}:".encode()).decode()

    assert any(p.startswith("I10") for p in ended.judged(said=frozenset({f"serve --header {shown}"})))
