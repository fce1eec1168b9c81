from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import DAMAGED, account_of
from sluicegate.consent.store import open_ledger
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds
from sluicegate.delivery.letters import DeadLetter, LetterFilter
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogTooNew, LogUnavailable
from sluicegate.event import Combo
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.quarantine import Quarantine, n_lost
from sluicegate.eventlog.schema import SCHEMA
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.fsck.check import check
from sluicegate.fsck.databases import cursors
from sluicegate.fsck.findings import Finding
from sluicegate.lock import DataDirLock
from sluicegate.paths import DataDir
from sluicegate.proof import decisions_about, verify
from sluicegate.registry import open_data
from sluicegate.testing.batches import batch_of
from tests.faults.flipping import build, event_at, flip, read_everything, record_at, root_of

N_EVENTS = 80


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["crm"], head=0)
    registry.close()
    log.close()
    build(data_dir.event_log, N_EVENTS)
    Bell(data_dir.bell).ring(N_EVENTS)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=20, delivered=17, denied={"no consent": 2}, dead_letters=[letter(9)])
    store.close()
    return data_dir


def letter(offset: int) -> DeadLetter:
    return DeadLetter(offset, f"m-{offset}", Combo("track", "web"), b"{}", "refused", 1, 1, 1, 1)


def fsck(data_dir: DataDir, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "fsck", "--data-dir", str(data_dir.root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"})


def repaired(data_dir: DataDir) -> list[Finding]:
    return check(data_dir, repair=True, progress=lambda *_: None)


def spoil(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()


@pytest.fixture
def damaged_row(data_dir: DataDir) -> Iterator[range]:
    log = SqliteLog(data_dir.event_log)
    row = log.read(40, max_events=1, max_bytes=1)[0]
    log.close()
    spoil(data_dir.event_log, f"UPDATE rows SET payload_crc = payload_crc + 1 WHERE first = {row.first}")
    yield range(row.first, row.last + 1)


def proof_of(data_dir: DataDir) -> tuple[str | None, dict[str, int], int]:
    """What the proof of the one destination says: a fault, how events ended, how many are held."""
    (one,) = verify(data_dir, head=N_EVENTS)
    return one.fault, dict(one.decided), one.held


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


def test_newer_log_is_not_touched(data_dir: DataDir) -> None:
    spoil(data_dir.event_log, f"PRAGMA user_version = {SCHEMA.version + 1}")
    before = data_dir.event_log.read_bytes()

    with pytest.raises(LogTooNew):
        repaired(data_dir)

    assert data_dir.event_log.read_bytes() == before


@pytest.mark.parametrize(
    "damage", ["combo = 'x'", "stage = 'x'", "combo = CAST(x'ff' AS TEXT)", "reason = CAST(x'ff' AS TEXT)"]
)
def test_unreadable_dead_letter_is_counted_as_expired(data_dir: DataDir, damage: str) -> None:
    path = data_dir.store("crm")
    spoil(path, f"UPDATE dead_letters SET {damage}")

    found = fsck(data_dir)
    repaired(data_dir)

    store = DestinationStore.open(path, start=0)
    account = account_of(store.state, head=N_EVENTS)
    assert "dead letters cannot be decoded: 1" in found.stdout
    assert (account.dead, account.expired, account.expired_by) == (0, 1, {DAMAGED: 1})
    assert account.accepted == account.delivered + account.pending + account.denied + account.expired
    assert fsck(data_dir).returncode == 0
    assert proof_of(data_dir) == (None, {"delivered": 17, "skipped": 2, "damaged": 1}, 0)
    told = decisions_about(path, 9)
    assert told is not None and [entry.word for entry in told] == ["dead", f"expired:{DAMAGED}"]


def test_store_is_copied_over_a_letter_that_is_not_even_text(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    store = DestinationStore.open(path, start=0)
    store.commit(1, cursor=60, dead_letters=[replace(letter(offset), event=b"1" * 400) for offset in range(21, 61)])
    store.close()
    spoil(path, "UPDATE dead_letters SET reason = CAST(x'ff' AS TEXT) WHERE log_offset = 30")
    place = path.read_bytes().index(b"m-55") // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(4096))

    findings = repaired(data_dir)

    assert findings[0].repaired is not None
    assert fsck(data_dir).returncode == 0
    with closing(DestinationStore.open(path, start=0)) as store:
        kept = [one.offset for one in store.letters.list()]
    assert {9, 29, 31} <= {*kept} < {9, *range(21, 61)}
    assert 30 not in kept


def test_store_whose_counts_do_not_add_up_is_found_and_set_right(data_dir: DataDir) -> None:
    spoil(data_dir.store("crm"), "DELETE FROM denied")

    found = fsck(data_dir)
    findings = repaired(data_dir)

    assert "cursor has moved by 20, but 18 events are counted" in found.stdout
    assert findings[0].repaired
    assert fsck(data_dir).returncode == 0


def test_repaired_store_whose_chain_of_decisions_is_broken_begins_a_new_one(data_dir: DataDir) -> None:
    spoil(data_dir.store("crm"), "DELETE FROM denied; DELETE FROM decisions; DELETE FROM decisions_before")

    findings = repaired(data_dir)

    assert "begins anew" in (findings[0].repaired or "")
    assert proof_of(data_dir) == (None, {"delivered": 17, "damaged": 2, "failed": 1}, 0)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(2)
    store.commit(2, cursor=21, delivered=1)
    store.close()
    assert proof_of(data_dir)[0] is None


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM decisions_before", "is missing"),
        ("DELETE FROM decisions_before; INSERT INTO denied VALUES ('no consent', 1)", "is missing"),
        ("UPDATE decisions_before SET counts = 'x'", "cannot be read"),
        ("UPDATE decisions_before SET counts = '[]'", "cannot be read"),
    ],
)
def test_new_store_that_lost_the_beginning_of_its_chain_begins_a_new_one(
    data_dir: DataDir, damage: str, what: str
) -> None:
    path = data_dir.store("new")
    DestinationStore.open(path, start=0).close()
    spoil(path, damage)

    found = fsck(data_dir)
    findings = repaired(data_dir)

    assert f"its proof of decisions: the beginning of the chain {what}" in found.stdout
    assert "begins anew" in (findings[0].repaired or "")
    assert fsck(data_dir).returncode == 0


def test_store_with_a_broken_index_gets_it_built_again(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    root = root_of(path, "dead_letters_message_id")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))

    found = fsck(data_dir, "--repair")

    store = DestinationStore.open(path, start=0)
    assert found.returncode == 1
    assert [one.offset for one in store.letters.find("m-9")] == [9]
    assert fsck(data_dir).returncode == 0


def test_store_without_a_readable_cursor_is_left_as_it_was(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    root = root_of(path, "state")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))
    before = path.read_bytes()

    findings = repaired(data_dir)

    assert any("not repaired" in one.what and "everything since its registration" in one.what for one in findings)
    assert path.read_bytes() == before


def test_damaged_consent_ledger_is_found_and_never_copied_in_part(data_dir: DataDir) -> None:
    db, _ = open_ledger(data_dir.consent, data_dir.consent_key)
    db.executemany("INSERT INTO subjects VALUES (?, 1, x'00')", [(b"%020d" % number,) for number in range(500)])
    db.close()
    clean = fsck(data_dir).returncode
    damaged = data_dir.consent.read_bytes()
    place = damaged.index(b"%020d" % 250) // 4096 * 4096
    damaged = damaged[:place] + b"\xff" * 4096 + damaged[place + 4096 :]
    data_dir.consent.write_bytes(damaged)

    found = fsck(data_dir)
    repaired = fsck(data_dir, "--repair", "--json")

    assert (clean, found.returncode) == (0, 1)
    assert "consent.db" in found.stdout
    assert "restore it from a backup" in json.loads(repaired.stdout)["findings"][-1]["what"]
    assert data_dir.consent.read_bytes() == damaged
    assert not list(data_dir.root.glob("*.damaged-*"))


def test_running_system_is_not_checked(data_dir: DataDir) -> None:
    lock = DataDirLock(data_dir.lock)
    lock.acquire(timeout_s=0)

    result = fsck(data_dir)
    lock.release()

    assert result.returncode == 2
    assert "stop it with `sluicegate stop`" in result.stderr


def test_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert fsck(DataDir(tmp_path / "nothing")).returncode == 2


def test_missing_control_database_is_found_and_the_log_is_left_alone(data_dir: DataDir) -> None:
    data_dir.control.unlink()
    before = data_dir.event_log.read_bytes()

    findings = repaired(data_dir)

    assert [(one.file, one.repaired) for one in findings] == [("control.db", None)]
    assert data_dir.event_log.read_bytes() == before


def held_from(data_dir: DataDir, *offsets: int) -> None:
    held = [HeldRow(offset, 7, None, 1) for offset in offsets]
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    terms = Holds(held, 0, "", HoldBounds(100, 100))
    store.commit(1, cursor=20 + len(held), held=terms)
    store.close()


def test_lost_held_event_is_counted_as_expired(data_dir: DataDir) -> None:
    held_from(data_dir, 21, 22)
    clean = fsck(data_dir).returncode
    spoil(data_dir.store("crm"), "DELETE FROM held WHERE log_offset = 21")

    found = fsck(data_dir)
    repaired(data_dir)

    store = DestinationStore.open(data_dir.store("crm"), start=0)
    account = account_of(store.state, head=N_EVENTS)
    assert clean == 0
    assert "it holds 1 events, but 2 are counted" in found.stdout
    assert (account.held, account.expired, account.expired_by) == (1, 1, {DAMAGED: 1})
    assert fsck(data_dir).returncode == 0
    fault, decided, n_held = proof_of(data_dir)
    assert (fault, decided["damaged"], n_held) == (None, 1, 1)


def test_event_that_was_delivered_after_its_hold_is_not_taken_for_the_one_that_is_lost(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that tells of deliveries is begun before the row that tells that the last event is held."""
    now_s = time.time()
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    for offset, after_s, ended in ((21, 40, ()), (22, 50, (22,)), (23, 70, (23,))):
        monkeypatch.setattr(time, "time_ns", lambda at_s=now_s + after_s: int(at_s * 1e9))
        store.commit(1, cursor=offset, held=Holds([HeldRow(offset, 7, None, 1)], 0, "", HoldBounds(100, 100)))
        store.settle_held(1, HeldChanges(delivered=ended))
    store.close()
    spoil(data_dir.store("crm"), "DELETE FROM held WHERE log_offset = 21")

    repaired(data_dir)

    last = {offset: (decisions_about(data_dir.store("crm"), offset) or [])[-1].word for offset in range(21, 24)}
    assert last == {21: f"expired:{DAMAGED}", 22: "delivered", 23: "delivered"}


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


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE state SET delivered = delivered + 1024",
        "UPDATE state SET delivered = delivered - 16",
        "UPDATE state SET dead = dead + 64",
        "UPDATE state SET dead = dead - 1",
        "UPDATE state SET held = held + 8",
        "UPDATE state SET forgotten = forgotten + 64",
        "UPDATE state SET start = start + (1 << 30)",
        "UPDATE state SET cursor = cursor + 4",
        "UPDATE state SET cursor = cursor - 4",
        "UPDATE denied SET n = n + 256",
        "DELETE FROM denied",
    ],
)
def test_damaged_count_is_taken_from_the_decisions(data_dir: DataDir, damage: str) -> None:
    spoil(data_dir.store("crm"), damage)

    findings = repaired(data_dir)

    store = DestinationStore.open(data_dir.store("crm"), start=0)
    assert "begins anew" not in (findings[0].repaired or "")
    assert (store.state.start, store.state.cursor, store.state.delivered, store.state.dead) == (0, 20, 17, 1)
    assert (store.state.denied, store.state.expired) == ({"no consent": 2}, 0)
    assert proof_of(data_dir) == (None, {"delivered": 17, "skipped": 2, "failed": 1}, 0)
    assert check(data_dir, repair=False, progress=lambda *_: None) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE state SET delivered = delivered + 1024",
        "UPDATE state SET dead = dead + 64",
        "UPDATE state SET held = held + 8",
        "UPDATE denied SET n = n + 256",
    ],
)
def test_damaged_count_is_not_made_up_for_by_negative_ones(data_dir: DataDir, damage: str) -> None:
    spoil(data_dir.store("crm"), f"{damage}; DELETE FROM decisions; DELETE FROM decisions_before")

    repaired(data_dir)

    store = DestinationStore.open(data_dir.store("crm"), start=0)
    account = account_of(store.state, head=20)
    assert min(account.delivered, account.held, account.expired, *account.denied_by.values()) >= 0
    assert account.accepted == account.delivered + account.dead + account.denied + account.expired
    assert check(data_dir, repair=False, progress=lambda *_: None) == []


def test_repaired_store_keeps_its_proof_of_dead_letters_that_were_forgotten(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    store = DestinationStore.open(path, start=0)
    store.commit(1, cursor=22, delivered=0, dead_letters=[letter(21), letter(22)])
    store.letters.drop(LetterFilter(ids=[1]))
    assert store.letters.forget(keep=0) == 1
    store.close()
    spoil(path, "UPDATE dead_letters SET combo = 'x' WHERE log_offset = 22")

    findings = repaired(data_dir)

    assert "begins anew" not in (findings[0].repaired or "")
    assert proof_of(data_dir) == (None, {"delivered": 17, "skipped": 2, "failed": 2, "damaged": 1}, 0)
