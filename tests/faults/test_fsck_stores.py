from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import DAMAGED, account_of, store_schema
from sluicegate.consent.store import open_ledger
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds
from sluicegate.delivery.letters import LetterFilter
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.fsck.check import check
from sluicegate.pages import Pages
from sluicegate.paths import DataDir
from sluicegate.proof import decisions_about
from tests.delivery.old_layouts import take_back
from tests.faults.checking import (
    N_EVENTS,
    PAGE_BYTES,
    checked_dir,
    clear_page,
    fsck,
    held_from,
    letter,
    proof_of,
    repaired,
    spoil,
)
from tests.faults.flipping import root_of


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return checked_dir(tmp_path / "data")


@pytest.mark.parametrize("version", range(2, store_schema(0).version))
def test_look_at_a_store_of_an_older_version_changes_nothing(data_dir: DataDir, version: int) -> None:
    path = data_dir.store("crm")
    with closing(apsw.Connection(str(path))) as db:
        take_back(db, version)
    before = path.read_bytes()

    found = check(data_dir, repair=False, progress=lambda *_: None)

    assert found == []
    assert path.read_bytes() == before
    with closing(apsw.Connection(str(path))) as db:
        assert db.pragma("user_version") == version


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
    clear_page(path, path.read_bytes().index(b"m-55") // PAGE_BYTES + 1)

    findings = repaired(data_dir)

    assert findings[0].repaired is not None
    assert fsck(data_dir).returncode == 0
    with closing(DestinationStore.open(path, start=0)) as store:
        kept = [one.offset for one in store.letters.list()]
    assert {9, 29, 31} <= {*kept} < {9, *range(21, 61)}
    assert 30 not in kept


def test_store_is_copied_over_a_letter_out_of_order_before_a_page_that_cannot_be_read(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    with closing(DestinationStore.open(path, start=0)) as store:
        letters = [replace(letter(offset), event=b"1" * 400) for offset in range(21, 61)]
        store.commit(1, cursor=60, dead_letters=letters)
    with Pages.of_files(path, page_size=PAGE_BYTES, n_frames=0, broken=frozenset()) as pages:
        leaves = [(place, [*pages.cells(page)]) for place, page in pages.leaves() if page[0] == 13]
    letters_of = {place: cells for place, cells in leaves if cells and b"refused" in cells[-1].local}
    _, (place, cells), (after, _), *_ = sorted(letters_of.items())
    data = bytearray(path.read_bytes())
    data[data.index(cells[-1].local, (place - 1) * PAGE_BYTES) - 1] = cells[0].rowid - 1
    path.write_bytes(data)
    clear_page(path, after)

    repaired(data_dir)

    assert fsck(data_dir).returncode == 0
    with closing(DestinationStore.open(path, start=0)) as store:
        assert {one.id for one in store.letters.list()} >= {1, cells[0].rowid, cells[-2].rowid, 41}


def test_store_is_copied_after_a_copy_that_was_killed(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    clear_page(path, root_of(path, "denied"))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f".{path.name}.repairing{suffix}").write_bytes(b"cut off")

    findings = repaired(data_dir)

    assert [one.what for one in findings if one.what.startswith("not repaired")] == []
    assert fsck(data_dir).returncode == 0
    assert list(path.parent.glob(".*")) == []


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


def test_proof_that_is_broken_alone_is_found_and_begins_anew(data_dir: DataDir) -> None:
    spoil(data_dir.store("crm"), "UPDATE decisions SET at_ms = at_ms + 1")

    found = fsck(data_dir)
    findings = repaired(data_dir)

    assert "its proof of decisions: row 1 is not what was written" in found.stdout
    assert "begins anew" in (findings[0].repaired or "")
    assert proof_of(data_dir) == (None, {"delivered": 17, "skipped": 2, "failed": 1}, 0)
    assert fsck(data_dir).returncode == 0


@pytest.mark.parametrize("accounts", ["", "UPDATE state SET delivered = 19; UPDATE denied SET n = 1"])
def test_counts_before_the_proof_that_were_changed_are_set_right_by_it(data_dir: DataDir, accounts: str) -> None:
    path = data_dir.store("crm")
    with closing(DestinationStore.open(path, start=0)) as store:
        store.commit(1, cursor=21, delivered=1)
    began = """'{"delivered": 1, "denied:no consent": -1}'"""
    spoil(path, f"UPDATE decisions_before SET counts = {began}; {accounts}")

    found = fsck(data_dir)
    findings = repaired(data_dir)

    assert "its proof of decisions: the counts before row 1 are not those from which row 1 goes on" in found.stdout
    assert "begins anew" not in (findings[0].repaired or "")
    assert proof_of(data_dir) == (None, {"delivered": 18, "skipped": 2, "failed": 1}, 0)
    assert fsck(data_dir).returncode == 0


def test_store_with_a_broken_index_gets_it_built_again(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    clear_page(path, root_of(path, "dead_letters_message_id"))

    found = fsck(data_dir, "--repair")

    store = DestinationStore.open(path, start=0)
    assert found.returncode == 1
    assert [one.offset for one in store.letters.find("m-9")] == [9]
    assert fsck(data_dir).returncode == 0


def test_store_without_a_readable_cursor_is_left_as_it_was(data_dir: DataDir) -> None:
    path = data_dir.store("crm")
    clear_page(path, root_of(path, "state"))
    before = path.read_bytes()

    findings = repaired(data_dir)

    assert any("not repaired" in one.what and "everything since its registration" in one.what for one in findings)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["", "denied"])
def test_store_whose_accounts_cannot_be_set_right_is_left_as_it_was(data_dir: DataDir, damage: str) -> None:
    path = data_dir.store("crm")
    spoil(path, "UPDATE state SET cursor = 0, delivered = 7; DELETE FROM decisions; DELETE FROM decisions_before")
    if damage:
        clear_page(path, root_of(path, damage))
    before = path.read_bytes()

    findings = repaired(data_dir)

    assert "not repaired" in findings[-1].what
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.damaged-*")) == []


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
