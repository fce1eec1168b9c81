from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from sluicegate.consent.ledger import Ledger
from sluicegate.consent.regulation import Kind
from sluicegate.delivery.erasing import Eraser, Report, locked
from sluicegate.destinations.base import Batch
from sluicegate.errors import LogUnavailable, Rejected
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.erasing import EMPTY
from sluicegate.fsck.check import check
from sluicegate.testing.batches import add_event
from tests.delivery.consenting import identified, record, told
from tests.delivery.erasing_harness import (
    ANNE,
    BEN,
    CANARY,
    append,
    ask,
    erase_all,
    events,
    no_progress,
    regulation,
    traces,
)
from tests.delivery.site import SILENT, now_ms
from tests.delivery.world import YES, World
from tests.doubles.vendor import Vendor


def test_statement_49_nothing_of_the_subject_is_left_in_any_file(world: World) -> None:
    for size in (0, 0, 600, 5_000):
        append(world, ANNE, BEN, ANNE, *[BEN] * 20, size=size)
    world.data_dir.logs.mkdir(exist_ok=True)
    text = f"event of {ANNE} failed: {ANNE}.\nevent of {BEN} failed\nid={ANNE}-7\n"
    (world.data_dir.logs / "actors.log").write_text(text)
    (world.data_dir.root / "events.db.damaged-20260101T000000Z").write_text(CANARY)
    (world.data_dir.stores / ".crm.db.repairing").write_text(CANARY)  # of a repair that was killed

    def refuse(batch: Batch) -> None:
        raise Rejected(f"bad event of {ANNE}").answered(400, f'{{"bad": "{ANNE}"}}')

    world.start(Vendor(refuse))
    world.wait_caught_up()
    world.stop()
    assert len(traces(world.data_dir, ANNE, CANARY)) > 3
    before = events(world)

    ask(world.data_dir, ANNE)
    (report,) = erase_all(world.data_dir)

    assert traces(world.data_dir, ANNE, CANARY) == []
    assert events(world) == [EMPTY if CANARY.encode() in one else one for one in before]
    assert (report.events, report.letters, report.words, report.files, report.unreadable) == (8, 8, 3, 2, [])
    assert world.state().denied == {"erased": 8}
    assert world.state().dead == 84
    damage = check(world.data_dir, repair=False, progress=no_progress)
    assert [one.file for one in damage] == ["control.db"]  # there is none in this test


def test_log_files_that_were_moved_into_a_folder_are_erased_too(world: World) -> None:
    append(world, ANNE)
    old = world.data_dir.logs / "old"
    old.mkdir(parents=True)
    (old / "actors.log").write_text(f"event of {ANNE} failed\n")

    ask(world.data_dir, ANNE)
    (report,) = erase_all(world.data_dir)

    assert (report.events, report.words, traces(world.data_dir, ANNE)) == (1, 1, [])


@pytest.mark.parametrize(
    "line",
    [
        r'400: {"error": "no such user j\u00FCrg\/en@shop"}',
        r'{"message": "400: {\"error\": \"no such user j\\u00fcrg\/en@shop\"}"}',
        "GET https://vendor.test/users/j%C3%BCrg%2fen%40shop?x=1 failed",
        "no such user: j%c3%bcrg/en%40shop",
        "event jürg/en@shop-7 failed",
    ],
)
@pytest.mark.parametrize("has_events", [True, False])
def test_ids_are_found_in_log_files_however_they_are_spelled(world: World, line: str, has_events: bool) -> None:
    if has_events:
        append(world, "jürg/en@shop")
    elif "/users/" in line or "-7" in line:
        pytest.skip("an id without events is known by its hash alone, and not found inside other words")
    world.data_dir.logs.mkdir(exist_ok=True)
    path = world.data_dir.logs / "actors.log"
    path.write_text(f"before {line} behind\n", encoding="utf-8")

    ask(world.data_dir, "jürg/en@shop")
    erase_all(world.data_dir)

    told = path.read_text(encoding="utf-8")
    assert "***" in told
    assert "rg" not in told
    assert (told[:7], told[-8:]) == ("before ", " behind\n")


def test_statement_49_destinations_that_got_something_report_that_they_cannot_delete(world: World) -> None:
    append(world, ANNE)
    world.start(Vendor())
    world.wait_caught_up()
    world.stop()

    ask(world.data_dir, ANNE)
    erase_all(world.data_dir)

    assert regulation(world.data_dir).report["destinations"] == {"vendor": "NOT_SUPPORTED"}


def test_statement_50_a_second_time_erases_nothing(world: World) -> None:
    append(world, ANNE, BEN)

    asked = [ask(world.data_dir, ANNE, id_=id_) for id_ in ("r1", "r2")]
    reports = erase_all(world.data_dir)

    assert [report.events for report in reports] == [1, 0]
    assert [one.changed for one in asked] == [1, 0]


def test_delete_only_takes_what_comes_later(world: World) -> None:
    append(world, ANNE)
    ask(world.data_dir, ANNE, kind=Kind.DELETE_ONLY)
    append(world, ANNE)

    (report,) = erase_all(world.data_dir)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert (report.events, len(vendor.events)) == (1, 1)
    assert world.state().denied == {"erased": 1}


def test_suppression_alone_erases_nothing_and_lets_nothing_out(world: World) -> None:
    append(world, ANNE, BEN)
    ask(world.data_dir, ANNE, kind=Kind.SUPPRESS_ONLY)

    reports = erase_all(world.data_dir)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert reports == []
    assert (len(vendor.events), world.state().denied) == (1, {"suppressed": 1})
    assert traces(world.data_dir, CANARY) != []


def test_erasing_a_user_erases_the_events_of_its_devices(world: World) -> None:
    record(world.data_dir, [identified(ANNE, "user-anne")])
    append(world, ANNE, BEN)

    ask(world.data_dir, "user-anne", visitor=False)
    (report,) = erase_all(world.data_dir)

    assert report.events == 1
    assert traces(world.data_dir, ANNE, CANARY) == []


@pytest.mark.parametrize("kind", [Kind.SUPPRESS_ONLY, Kind.DELETE_ONLY])
def test_an_alias_that_names_the_subject_goes_nowhere_from_the_answer_on(world: World, kind: Kind) -> None:
    batch, combo = EventBatch(), YES._replace(type="alias")
    for previous_id in (ANNE, BEN, 7):
        alias = json.dumps({"type": "alias", "userId": "somebody", "previousId": previous_id}).encode()
        add_event(batch, alias, message_id=f"{previous_id}", combo=combo, user_id="somebody", anonymous_id=None)
    world.log.append([batch], received_at_ms=1)

    ask(world.data_dir, ANNE, kind=kind)
    append(world, BEN)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert vendor.events == [BEN, "7", f"{BEN}-3-0"]
    assert world.state().denied == {"erased" if kind.deletes else "suppressed": 1}


def test_an_alias_that_names_the_subject_is_erased_too(world: World) -> None:
    batch = EventBatch()
    alias = json.dumps({"type": "alias", "userId": "somebody", "previousId": ANNE}).encode()
    add_event(batch, alias, message_id="m", combo=Combo("alias", "web"), user_id="somebody", anonymous_id=None)
    world.log.append([batch], received_at_ms=1)

    ask(world.data_dir, ANNE, visitor=False)
    (report,) = erase_all(world.data_dir)

    assert report.events == 1
    assert traces(world.data_dir, ANNE) == []


@pytest.mark.parametrize("nth", [1, 7, 25])
def test_erasing_that_was_killed_goes_on_where_the_files_are(world: World, nth: int) -> None:
    for _ in range(30):
        append(world, ANNE, BEN, size=100)
    before = events(world)
    ask(world.data_dir, ANNE)
    program = (
        "import sys, pathlib; from sluicegate.paths import DataDir;"
        "from tests.delivery.erasing_harness import erase_all; erase_all(DataDir(pathlib.Path(sys.argv[1])))"
    )
    environ = {**os.environ, "SG_FP": f"in_erasing:{nth}:kill"}

    killed = subprocess.run([sys.executable, "-c", program, str(world.data_dir.root)], env=environ, timeout=60)
    half = traces(world.data_dir, CANARY)
    (report,) = erase_all(world.data_dir)

    assert killed.returncode == -signal.SIGKILL
    assert len(half) > 0
    assert report.events == 30 - nth
    assert events(world) == [EMPTY if CANARY.encode() in one else one for one in before]
    assert traces(world.data_dir, ANNE, CANARY) == []
    assert erase_all(world.data_dir) == []


def test_damaged_rows_are_named_and_the_rest_is_erased(world: World) -> None:
    append(world, ANNE)
    append(world, ANNE, BEN)
    append(world, ANNE)
    world.log._db.execute("UPDATE rows SET seal = seal + 1 WHERE first = 2")

    ask(world.data_dir, ANNE)
    (report,) = erase_all(world.data_dir)

    assert (report.events, report.unreadable) == (2, [[2, 3]])


def test_damaged_rows_are_named_once_however_often_erasing_begins(world: World) -> None:
    append(world, ANNE, BEN)
    world.log._db.execute("UPDATE rows SET seal = seal + 1")
    asked = ask(world.data_dir, ANNE)

    with closing(Ledger(world.data_dir.consent, world.data_dir.consent_key)) as ledger:
        Eraser(world.data_dir, ledger).begin(asked)
    (report,) = erase_all(world.data_dir)

    assert report.unreadable == [[1, 2]]


def test_one_process_erases_at_a_time(world: World) -> None:
    with locked(world.data_dir) as first, locked(world.data_dir) as second:
        held = first, second
    with locked(world.data_dir) as third:
        pass

    assert (held, third) == ((True, False), True)


def test_a_report_of_a_newer_version_can_be_read() -> None:
    assert Report.of({"events": 3, "unknown": 1}) == Report(events=3)


def test_what_comes_after_a_suppression_has_ended_is_not_erased_with_it(world: World) -> None:
    append(world, ANNE)
    ask(world.data_dir, ANNE)
    append(world, ANNE)  # was on its way
    ask(world.data_dir, ANNE, kind=Kind.UNSUPPRESS, id_="r2")
    append(world, ANNE)
    append(world, ANNE, combo=SILENT, received_at_ms=now_ms())
    record(world.data_dir, [told(True, visitor=ANNE, at_ms=now_ms())])

    (report,) = erase_all(world.data_dir)
    vendor = Vendor()
    world.start(vendor)
    world.wait_caught_up()

    assert [event == EMPTY for event in events(world)] == [True, True, False, False]
    assert (report.events, len(vendor.events)) == (2, 2)
    assert world.state().denied == {"erased": 2}


def test_erasing_ends_when_retention_trims_the_log_past_its_end_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.delivery.erasing.READ_EVENTS", 1)
    for _ in range(4):
        append(world, ANNE)
    regulation = ask(world.data_dir, ANNE, kind=Kind.DELETE_ONLY)
    for _ in range(4):
        append(world, BEN)
    looks: list[int] = []

    def progress(done: int, total: int) -> None:
        looks.append(done)
        assert len(looks) <= 4
        if len(looks) == 2:
            world.log.trim(7)

    with closing(Ledger(world.data_dir.consent, world.data_dir.consent_key)) as ledger:
        report = Eraser(world.data_dir, ledger, progress=progress).begin(regulation)

    assert looks == [1, 2, 4]
    assert report.events == 2


def test_ids_inside_other_words_are_erased_also_when_erasing_was_interrupted_after_the_first_event(
    world: World,
) -> None:
    append(world, ANNE)
    append(world, BEN)
    world.data_dir.logs.mkdir(exist_ok=True)
    (world.data_dir.logs / "actors.log").write_text(f"event {ANNE}-7 failed\n")
    asked, asks = ask(world.data_dir, ANNE), iter([False, True])

    with closing(Ledger(world.data_dir.consent, world.data_dir.consent_key)) as ledger, suppress(LogUnavailable):
        Eraser(world.data_dir, ledger, stop=lambda: next(asks)).begin(asked)
    interrupted_after = len([one for one in events(world) if one == EMPTY])
    erase_all(world.data_dir)

    assert interrupted_after == 1
    assert traces(world.data_dir, ANNE) == []
