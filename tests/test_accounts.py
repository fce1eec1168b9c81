from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import Account, check_cursors, oldest_pending_ms, read_accounts
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogDamaged, LogTooNew
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registration
from sluicegate.testing.batches import batch_of


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    return data_dir


def registrations(**starts: int) -> dict[str, Registration]:
    return {id_: Registration(id_, start, registered_at_ms=1) for id_, start in starts.items()}


def balance(account: Account) -> int:
    return sum(getattr(account, name) for name in ("delivered", "pending", "held", "dead", "denied", "expired"))


def test_destination_without_a_store_has_everything_pending(data_dir: DataDir) -> None:
    account = read_accounts(data_dir, registrations(crm=3), head=10)["crm"]

    assert (account.accepted, account.pending, account.cursor, account.epoch) == (7, 7, 3, 0)


def test_account_counts_what_the_store_settled(data_dir: DataDir) -> None:
    store = DestinationStore.open(data_dir.store("crm"), start=2)
    store.claim(4)
    store.commit(4, cursor=8, delivered=3, expired=1, denied={"ads denied": 2})

    account = read_accounts(data_dir, registrations(crm=2), head=10)["crm"]

    assert account == Account(
        accepted=8,
        delivered=3,
        pending=2,
        held=0,
        dead=0,
        denied=2,
        expired=1,
        denied_by={"ads denied": 2},
        cursor=8,
        epoch=4,
    )
    assert balance(account) == account.accepted


def test_account_balances_when_the_head_was_read_before_the_store(data_dir: DataDir) -> None:
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=5, delivered=5)

    account = read_accounts(data_dir, registrations(crm=0), head=4)["crm"]

    assert account.pending == 0
    assert balance(account) == account.accepted == 5


def test_only_registered_destinations_have_accounts(data_dir: DataDir) -> None:
    DestinationStore.open(data_dir.store("removed"), start=0).close()

    assert list(read_accounts(data_dir, registrations(a=0, b=0), head=0)) == ["a", "b"]


def test_damaged_store_hides_its_own_account_only(data_dir: DataDir, caplog: pytest.LogCaptureFixture) -> None:
    data_dir.store("bad").write_bytes(b"not a database" * 1_000)

    accounts = read_accounts(data_dir, registrations(bad=0, good=0), head=1)

    assert list(accounts) == ["good"]
    assert "bad" in caplog.text


def test_reading_accounts_makes_no_store(data_dir: DataDir) -> None:
    read_accounts(data_dir, registrations(crm=0), head=1)

    assert list(data_dir.stores.iterdir()) == []


def test_directory_without_stores_is_no_error(tmp_path: Path) -> None:
    assert read_accounts(DataDir(tmp_path), registrations(crm=0), head=1)["crm"].pending == 1


def test_oldest_pending_is_when_the_next_event_arrived() -> None:
    log = MemoryLog()
    log.append([batch_of([b"a", b"b"])], received_at_ms=10)
    log.append([batch_of([b"c"])], received_at_ms=20)

    assert oldest_pending_ms(log, [0, 2, 3, 2]) == {0: 10, 2: 20}


def test_damaged_store_of_one_destination_does_not_keep_the_system_from_starting(
    data_dir: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    for id_, cursor in (("ads", 1), ("crm", 5)):
        store = DestinationStore.open(data_dir.store(id_), start=0)
        store.claim(1)
        store.commit(1, cursor=cursor, delivered=cursor)
        store.close()
    data_dir.store("ads").write_bytes(b"not a store" * 1_000)

    check_cursors(data_dir, ["ads", "crm"], head=5)
    with pytest.raises(LogDamaged, match="'crm' has read up to 5"):
        check_cursors(data_dir, ["ads", "crm"], head=4)

    assert "how far ads has read is not known" in caplog.text


def test_store_of_a_newer_version_keeps_the_system_from_starting(data_dir: DataDir) -> None:
    DestinationStore.open(data_dir.store("crm"), start=0).close()
    with apsw.Connection(str(data_dir.store("crm"))) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(LogTooNew, match="upgrade Sluicegate"):
        check_cursors(data_dir, ["crm"], head=5)


def test_cursor_beyond_the_log_is_damage(data_dir: DataDir) -> None:
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=5, delivered=5)

    check_cursors(data_dir, ["crm", "unknown"], head=5)
    with pytest.raises(LogDamaged, match="restore the newest log"):
        check_cursors(data_dir, ["crm"], head=4)
