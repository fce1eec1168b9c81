from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogTooNew, LogUnavailable
from sluicegate.eventlog.quarantine import Quarantine, n_lost
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.fsck.check import check
from sluicegate.fsck.databases import cursors
from sluicegate.lock import DataDirLock
from sluicegate.paths import DataDir
from sluicegate.testing.batches import batch_of
from tests.faults.checking import N_EVENTS, checked_dir, clear_page, fsck, held_from, repaired, spoil
from tests.faults.flipping import build, event_at, flip, read_everything, record_at, root_of


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return checked_dir(tmp_path / "data")


@pytest.fixture
def damaged_row(data_dir: DataDir) -> Iterator[range]:
    log = SqliteLog(data_dir.event_log)
    row = log.read(40, max_events=1, max_bytes=1)[0]
    log.close()
    spoil(data_dir.event_log, f"UPDATE rows SET payload_crc = payload_crc + 1 WHERE first = {row.first}")
    yield range(row.first, row.last + 1)


def test_whole_directory_is_clean(data_dir: DataDir) -> None:
    before = data_dir.event_log.read_bytes()

    result = fsck(data_dir)

    assert (result.returncode, result.stdout) == (0, "nothing is wrong\n")
    assert data_dir.event_log.read_bytes() == before


def test_damaged_row_is_found_with_its_offsets(data_dir: DataDir, damaged_row: range) -> None:
    result = fsck(data_dir, "--json")

    found = json.loads(result.stdout)
    assert result.returncode == 1
    assert not found["clean"]
    (one,) = found["findings"]
    assert (one["file"], one["first"], one["last"], one["events"], one["repaired"]) == (
        "events.db",
        damaged_row[0],
        damaged_row[-1],
        len(damaged_row),
        None,
    )
    assert not data_dir.quarantine.exists()


@pytest.mark.parametrize("column", [2, 3])
def test_row_that_has_a_text_for_a_number_is_found_and_repaired(data_dir: DataDir, column: int) -> None:
    flip(data_dir.event_log, record_at(data_dir.event_log, 1) + column, 4)

    found = repaired(data_dir)

    assert [(one.first, one.last) for one in found if one.n_events] == [(1, 1)]
    assert check(data_dir, repair=False, progress=lambda *_: None) == []


def test_repair_keeps_every_other_event_at_its_offset(data_dir: DataDir, damaged_row: range) -> None:
    before = data_dir.event_log.read_bytes()

    first = fsck(data_dir, "--repair")
    second = fsck(data_dir)

    outcome = read_everything(SqliteLog(data_dir.event_log))
    (old,) = data_dir.root.glob("events.db.damaged-*")
    assert (first.returncode, second.returncode) == (1, 0)
    assert outcome.damaged == set(damaged_row)
    assert outcome.intact == {o: event_at(o) for o in range(1, N_EVENTS + 1) if o not in damaged_row}
    assert f"{len(damaged_row)} events are in quarantine" in second.stdout
    assert n_lost(Quarantine(data_dir.root).all()) == len(damaged_row)
    assert old.read_bytes() == before


@pytest.mark.parametrize("damage", ["UPDATE rows SET seal = seal + 1", "DELETE FROM rows"])
def test_new_damage_beside_a_row_that_a_repair_marked_as_lost_is_found(
    data_dir: DataDir, damaged_row: range, damage: str
) -> None:
    repaired(data_dir)
    log = SqliteLog(data_dir.event_log)
    beside = log.read(damaged_row[-1], max_events=1, max_bytes=1)[0]
    log.close()
    spoil(data_dir.event_log, f"{damage} WHERE first = {beside.first}")

    found = check(data_dir, repair=False, progress=lambda *_: None)

    assert [(one.first, one.last) for one in found] == [(beside.first, beside.last)]


def test_repaired_log_goes_on_after_its_last_offset_even_when_the_last_row_was_lost(data_dir: DataDir) -> None:
    spoil(data_dir.event_log, "UPDATE rows SET seal = seal + 1 WHERE first = (SELECT max(first) FROM rows)")

    findings = repaired(data_dir)

    log = SqliteLog(data_dir.event_log)
    assert any(one.last == N_EVENTS and one.repaired for one in findings)
    assert log.append([batch_of([b"next"])], received_at_ms=1) == [N_EVENTS + 1]


@pytest.mark.parametrize("column", ["seal", "payload_crc"])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_lost_rows_at_the_end_keep_their_place_when_only_the_log_tells_of_them(
    data_dir: DataDir, column: str, n_rows: int
) -> None:
    data_dir.bell.unlink()  # as after a power cut: it is never synced
    newest = f"SELECT first FROM rows ORDER BY first DESC LIMIT {n_rows}"
    spoil(data_dir.event_log, f"UPDATE rows SET {column} = {column} + 1 WHERE first IN ({newest})")

    findings = repaired(data_dir)

    log = SqliteLog(data_dir.event_log)
    assert [one.last for one in findings if one.n_events] == [N_EVENTS]
    assert n_lost(Quarantine(data_dir.root).all()) == sum(one.n_events for one in findings)
    assert log.append([batch_of([b"next"])], received_at_ms=1) == [N_EVENTS + 1]


@pytest.mark.parametrize("more", [-1, 16, 1 << 30])
def test_damaged_number_of_events_in_the_last_row_adds_none_to_the_log(data_dir: DataDir, more: int) -> None:
    data_dir.bell.unlink()
    spoil(data_dir.event_log, f"UPDATE rows SET count = count + {more} WHERE first = (SELECT max(first) FROM rows)")

    repaired(data_dir)

    assert SqliteLog(data_dir.event_log).head() == N_EVENTS


def test_events_that_only_a_cursor_remembers_are_counted_as_lost(data_dir: DataDir) -> None:
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.commit(1, cursor=90, delivered=70)
    store.close()

    findings = repaired(data_dir)

    log = SqliteLog(data_dir.event_log)
    assert [(one.first, one.last) for one in findings if one.n_events] == [(81, 90)]
    assert log.append([batch_of([b"next"])], received_at_ms=1) == [91]


@pytest.mark.parametrize("error", [KeyboardInterrupt, LogUnavailable])
def test_repair_that_is_broken_off_leaves_nothing_behind(
    data_dir: DataDir, damaged_row: range, error: type[BaseException]
) -> None:
    def progress(what: str, done: int, total: int) -> None:
        if what == "saving events":
            raise error("the disk is full")

    with pytest.raises(error):
        check(data_dir, repair=True, progress=progress)

    assert [path.name for path in data_dir.root.iterdir() if "repairing" in path.name or "damaged" in path.name] == []


@pytest.mark.parametrize("step", [1, 2, 3])
def test_repair_that_is_killed_while_it_exchanges_the_files_loses_nothing(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    data_dir.event_log.unlink()
    build(data_dir.event_log, N_EVENTS, checkpoint=False)
    with closing(apsw.Connection(str(data_dir.event_log))) as db:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        db.execute("UPDATE rows SET seal = seal + 1 WHERE first = 1")
    steps = iter(range(1, step + 1))
    rename = os.rename

    def killed(source: Path, target: Path) -> None:
        if next(steps) == step:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        repaired(data_dir)
    monkeypatch.undo()

    found, mended = check(data_dir, repair=False, progress=lambda *_: None), repaired(data_dir)

    assert found
    assert [one for one in mended if one.n_events] == []
    assert len(read_everything(SqliteLog(data_dir.event_log)).intact) == N_EVENTS
    assert check(data_dir, repair=False, progress=lambda *_: None) == []


def test_number_in_the_bell_that_no_event_can_have_is_not_believed(data_dir: DataDir) -> None:
    data_dir.bell.write_bytes(b"8%019d\n" % N_EVENTS)

    assert repaired(data_dir) == []


def test_repair_remembers_what_retention_removed(data_dir: DataDir) -> None:
    log = SqliteLog(data_dir.event_log)
    log.trim(20)
    tail = log.tail()
    log.close()
    spoil(data_dir.event_log, "UPDATE rows SET seal = seal + 1 WHERE first = (SELECT max(first) FROM rows)")

    repaired(data_dir)

    log = SqliteLog(data_dir.event_log)
    assert 1 < tail == log.tail()
    assert log.read(0, max_events=1, max_bytes=1)[0].first == tail


@pytest.mark.parametrize(
    "damage", ["", "DELETE FROM trimmed", f"UPDATE trimmed SET last = {N_EVENTS + 5}", "UPDATE trimmed SET last = -5"]
)
def test_nothing_counts_as_lost_that_retention_removed_when_the_log_does_not_tell(
    data_dir: DataDir, damage: str
) -> None:
    log = SqliteLog(data_dir.event_log)
    n_gone = log.trim(20)
    log.close()
    if damage:
        spoil(data_dir.event_log, damage)
    else:
        clear_page(data_dir.event_log, root_of(data_dir.event_log, "trimmed"), n_bytes=SCHEMA.page_size)

    found, mended = check(data_dir, repair=False, progress=lambda *_: None), repaired(data_dir)

    assert n_gone
    assert found
    assert [(one.first, one.last) for one in [*found, *mended] if one.n_events] == []
    log = SqliteLog(data_dir.event_log, create=False)
    assert (log.forgotten(), log.tail(), log.head()) == (n_gone, n_gone + 1, N_EVENTS)
    log.close()


def test_damaged_quarantine_is_shown_all_the_same(data_dir: DataDir) -> None:
    Quarantine(data_dir.root).record(1, 2, why="x", found_by="crm")
    spoil(data_dir.quarantine, "UPDATE damage SET found_at_ms = 1 << 62, found_by = '[red]' || char(27)")

    result = fsck(data_dir)

    assert (result.returncode, result.stderr) == (0, "")
    assert r"[red]\x1b" in result.stdout
    assert f"{1 << 62} ms since 1970" in result.stdout


def test_log_whose_tables_cannot_be_named_is_built_again(data_dir: DataDir) -> None:
    flip(data_dir.event_log, data_dir.event_log.read_bytes().index(b"first INTEGER"), 0)

    repaired(data_dir)

    assert len(read_everything(SqliteLog(data_dir.event_log, create=False)).intact) == N_EVENTS


@pytest.mark.parametrize("change", ["", "null"])
def test_log_that_retention_has_emptied_and_that_does_not_tell_its_end_is_built_again(
    data_dir: DataDir, change: str
) -> None:
    log = SqliteLog(data_dir.event_log)
    log.trim(N_EVENTS + 1)
    log.close()
    with closing(DestinationStore.open(data_dir.store("crm"), start=0)) as store:
        store.commit(1, cursor=N_EVENTS, delivered=N_EVENTS - 20)
    if change:
        at = (root_of(data_dir.event_log, "trimmed") - 1) * SCHEMA.page_size
        record = data_dir.event_log.read_bytes().index(b"\x03\x00\x01", at)
        flip(data_dir.event_log, record + 2, 0)
    else:
        spoil(data_dir.event_log, "DELETE FROM trimmed")

    found, _ = check(data_dir, repair=False, progress=lambda *_: None), repaired(data_dir)

    assert found
    assert SqliteLog(data_dir.event_log, create=False).head() == N_EVENTS
    assert check(data_dir, repair=False, progress=lambda *_: None) == []


def test_newer_log_is_not_touched(data_dir: DataDir) -> None:
    spoil(data_dir.event_log, f"PRAGMA user_version = {SCHEMA.version + 1}")
    before = data_dir.event_log.read_bytes()

    with pytest.raises(LogTooNew):
        repaired(data_dir)

    assert data_dir.event_log.read_bytes() == before


def test_running_system_is_not_checked(data_dir: DataDir) -> None:
    lock = DataDirLock(data_dir.lock)
    lock.acquire(timeout_s=0)

    result = fsck(data_dir)
    lock.release()

    assert result.returncode == 2
    assert "stop it with `sluicegate stop`" in result.stderr


def test_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert fsck(DataDir(tmp_path / "nothing")).returncode == 2


@pytest.mark.parametrize(
    "name",
    ["destinations/x.db", "destinations/crm.db-wal", "control.db", "consent.db", "events.db", "events.db-wal"],
)
def test_directory_in_the_place_of_a_file_is_found_and_the_rest_is_checked(data_dir: DataDir, name: str) -> None:
    spoil(data_dir.store("crm"), "DELETE FROM denied")
    place = data_dir.root / name
    place.unlink(missing_ok=True)
    place.mkdir()

    found = fsck(data_dir, "--json")
    repair = fsck(data_dir, "--repair", "--json")

    assert (found.returncode, repair.returncode) == (1, 1), found.stderr + repair.stderr
    told = {one["file"]: one["what"] for one in json.loads(found.stdout)["findings"]}
    file = name.removesuffix("-wal")
    assert f"{name.removeprefix('destinations/')}: is a directory" in told[file]
    assert "destinations/crm.db" in told
    mended = [one["file"] for one in json.loads(repair.stdout)["findings"] if one["repaired"]]
    assert mended == [] if file == "destinations/crm.db" else ["destinations/crm.db"]
    assert place.is_dir()


def test_file_that_is_no_database_is_found_and_the_rest_is_checked(data_dir: DataDir) -> None:
    spoil(data_dir.store("crm"), "DELETE FROM denied")
    data_dir.store("notes").write_text("a text, " * 1_000)
    os.mkfifo(data_dir.store("pipe"))

    findings = repaired(data_dir)

    assert {one.file for one in findings if one.repaired} == {"destinations/crm.db"}
    told = {one.file: one.what for one in findings if not one.repaired}
    assert "is no file" in told["destinations/pipe.db"]
    assert "destinations/notes.db" in told


def test_missing_control_database_is_found_and_the_log_is_left_alone(data_dir: DataDir) -> None:
    data_dir.control.unlink()
    before = data_dir.event_log.read_bytes()

    findings = repaired(data_dir)

    assert [(one.file, one.repaired) for one in findings] == [("control.db", None)]
    assert data_dir.event_log.read_bytes() == before


def test_registration_without_a_readable_start_is_found(data_dir: DataDir) -> None:
    with closing(apsw.Connection(str(data_dir.control))) as db:
        db.execute("INSERT INTO destinations (id, start, registered_at_ms) VALUES ('new', 77, 1)")
    record = data_dir.control.read_bytes().index(b"new\x4d")
    flip(data_dir.control, record - 4, 0)  # what says that the start is a number of one byte now says that it is null

    found = check(data_dir, repair=False, progress=lambda *_: None)

    assert [one.file for one in found] == ["control.db"]


def test_a_held_event_is_needed_still_although_the_cursor_has_passed_it(data_dir: DataDir) -> None:
    held_from(data_dir, 21, 22)

    assert sorted(cursors(data_dir)) == [20, 22]


@pytest.mark.parametrize("damage", ["cursor = cursor + (1 << 30)", "start = start + (1 << 30)"])
def test_damaged_store_adds_no_events_to_the_log(data_dir: DataDir, damage: str) -> None:
    spoil(data_dir.store("crm"), f"UPDATE state SET {damage}")

    repaired(data_dir)

    log = SqliteLog(data_dir.event_log)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    assert (log.head(), store.state.cursor) == (N_EVENTS, 20)
    assert not Quarantine(data_dir.root).all()


def test_cursor_that_nothing_bears_out_adds_no_events_to_the_log(data_dir: DataDir) -> None:
    spoil(data_dir.store("crm"), "UPDATE state SET cursor = cursor + (1 << 30), delivered = 0; DELETE FROM decisions")

    repaired(data_dir)

    assert SqliteLog(data_dir.event_log).head() == N_EVENTS


def test_cursor_is_believed_when_only_counts_were_lost(data_dir: DataDir) -> None:
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.commit(1, cursor=90, delivered=70)
    store.close()
    spoil(data_dir.store("crm"), "DELETE FROM denied")

    repaired(data_dir)

    assert SqliteLog(data_dir.event_log).head() == 90


def test_damaged_number_of_a_held_event_adds_no_events_to_the_log(data_dir: DataDir) -> None:
    held_from(data_dir, 21)
    spoil(data_dir.store("crm"), "UPDATE held SET log_offset = log_offset + (1 << 30)")

    repaired(data_dir)

    assert SqliteLog(data_dir.event_log).head() == N_EVENTS
