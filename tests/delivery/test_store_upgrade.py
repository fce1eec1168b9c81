from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest

from sluicegate.accounts import StoreState, read_accounts, refused_config
from sluicegate.config.model import DestinationConfig, Requirement, config_hash
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letter_bounds import trim_letters
from sluicegate.delivery.letters import DeadLetter, LetterStatus
from sluicegate.delivery.recovery import Suspect
from sluicegate.delivery.settlement import Stage
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogDamaged, StaleEpoch
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.registry import Registration
from tests.delivery.old_layouts import take_back

VERSION_1 = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE state (
        epoch INTEGER NOT NULL, start INTEGER NOT NULL, cursor INTEGER NOT NULL,
        delivered INTEGER NOT NULL, dead INTEGER NOT NULL, expired INTEGER NOT NULL
    ) STRICT;
    INSERT INTO state VALUES (4, 2, 9, 5, 1, 0);
    CREATE TABLE denied (reason TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO denied VALUES ('ads', 1);
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT, status TEXT NOT NULL, log_offset INTEGER NOT NULL,
        message_id TEXT NOT NULL, combo TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
        first_attempt_at_ms INTEGER NOT NULL, last_attempt_at_ms INTEGER NOT NULL, entered_at_ms INTEGER NOT NULL,
        event BLOB NOT NULL
    ) STRICT;
    CREATE INDEX dead_letters_message_id ON dead_letters (message_id);
    CREATE INDEX dead_letters_replay ON dead_letters (id) WHERE status = 'replay';
    INSERT INTO dead_letters VALUES (1, 'dead', 8, 'm8', :combo, '400', 1, 1, 2, 3, x'7b7d');
    PRAGMA application_id = 1397191540;
    PRAGMA user_version = 1;
"""
COMBO = Combo("track", "web")


def letter(offset: int, *, event: bytes = b"{}", entered_at_ms: int = 30) -> DeadLetter:
    return DeadLetter(offset, f"m{offset}", COMBO, event, "400", 2, 10, 20, entered_at_ms, response="why")


@pytest.fixture
def old_store(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    connection = apsw.Connection(str(data_dir.store("crm")))
    connection.execute(VERSION_1, {"combo": msgspec.json.encode(COMBO).decode()}).fetchall()
    connection.close()
    return data_dir


def test_store_of_version_1_is_brought_up_and_keeps_everything(old_store: DataDir) -> None:
    store = DestinationStore.open(old_store.store("crm"), start=0)

    (old,) = store.letters.list()
    store.claim(5)
    store.commit(5, cursor=10, dead_letters=[letter(10)])

    assert store.state == StoreState(5, 2, 10, delivered=5, dead=2, denied={"ads": 1})
    assert (old.event, old.stage, old.http_status, old.response) == (b"{}", Stage.REJECTED, None, "")
    assert (old.config_hash, old.ledger_version) == ("", 0)
    assert store.unsettled() == ([], [])
    store.close()


def test_store_of_version_1_is_brought_up_once_by_whoever_is_first(old_store: DataDir) -> None:
    stores = [DestinationStore.open(old_store.store("crm"), start=0) for _ in range(2)]

    assert [store.state.cursor for store in stores] == [9, 9]
    for store in stores:
        store.close()


def test_letters_of_version_4_are_kept_without_what_was_not_known_of_them(path: Path) -> None:
    DestinationStore.open(path, start=0).close()
    connection = apsw.Connection(str(path))
    take_back(connection, 4)
    connection.execute(
        "INSERT INTO dead_letters (status, log_offset, message_id, combo, reason, attempts, first_attempt_at_ms,"
        " last_attempt_at_ms, entered_at_ms, event, epoch) VALUES ('dead', 8, 'm8', ?, '400', 1, 1, 2, 3, x'7b7d', 6)",
        (msgspec.json.encode(COMBO).decode(),),
    )
    connection.close()

    store = DestinationStore.open(path, start=0)

    (old,) = store.letters.list()
    assert (old.message_id, old.epoch, old.config_hash, old.ledger_version) == ("m8", 6, "", 0)
    store.close()


def test_held_events_of_version_5_count_deaths(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.close()
    connection = apsw.Connection(str(path))
    take_back(connection, 5)
    connection.execute(
        "INSERT INTO held (log_offset, subject, arrived_at_ms, released, deaths) VALUES (7, 1, 1, 1, 1);"
        "UPDATE state SET held = 1, cursor = 7"
    )
    connection.close()

    store = DestinationStore.open(path, start=0)
    store.claim(2)
    store.note_deaths(2, 1, calls=[], replayed=[], reason="", released=[7])

    assert store.held.released(limit=10) == {7: 2}
    store.close()


def test_readers_cope_with_version_1(old_store: DataDir) -> None:
    accounts = read_accounts(old_store, {"crm": Registration("crm", 2, 0)}, head=12)

    assert (accounts["crm"].delivered, accounts["crm"].pending) == (5, 3)
    assert refused_config(old_store.store("crm")) is None


def test_version_from_before_all_upgrades_is_refused_with_what_to_do(old_store: DataDir) -> None:
    connection = apsw.Connection(str(old_store.store("crm")))
    connection.pragma("user_version", 0)
    connection.close()

    with pytest.raises(LogDamaged, match=r"older version .* let the older Sluicegate deliver what waits"):
        DestinationStore.open(old_store.store("crm"), start=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


def test_failing_events_are_remembered_until_they_are_replaced(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    retries = [PendingRetry(0, [3, 4, 9], 2, 1.5, 100.0, "500"), PendingRetry(0, [10], 1, 0.0, 100.0, "")]
    store.commit(1, cursor=0, retries=retries)
    store.commit(1, cursor=1, delivered=1)
    store.close()

    found, _ = DestinationStore.open(path, start=0).unsettled()

    assert [(r.lane, list(r.offsets), r.attempts, r.failing_s, r.first_error) for r in found] == [
        (0, [3, 4, 9], 2, 1.5, "500"),
        (0, [10], 1, 0.0, ""),
    ]
    assert found[0].first_attempt == pytest.approx(100.0, abs=1.0)


def test_deaths_are_counted_once_each_until_the_cursor_has_passed(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(2)
    for _ in range(2):
        store.note_deaths(2, 1, calls=[[1, 2], [3]], replayed=[], reason="")
    store.claim(3)
    store.note_deaths(3, 2, calls=[[3]], replayed=[], reason="")

    _, suspects = store.unsettled()
    store.commit(3, cursor=2, delivered=2)
    _, left = store.unsettled()

    assert suspects == [Suspect(1, 1, 0, (1, 0)), Suspect(2, 1, 0, (1, 0)), Suspect(3, 2, 1, (1, 1))]
    assert left == [Suspect(3, 2, 1, (1, 1))]
    store.close()


def test_letter_whose_replay_killed_the_process_is_dead_again(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.commit(1, cursor=1, dead_letters=[letter(1)])
    store.letters.mark_replay()
    store.claim(2)

    store.note_deaths(2, 1, calls=[], replayed=[1], reason="died")

    (dead,) = store.letters.list()
    assert (dead.status, dead.reason, dead.attempts) == (LetterStatus.DEAD, "died", 3)
    store.close()


def test_replaced_epoch_remembers_nothing(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(2)

    with pytest.raises(StaleEpoch):
        store.note_deaths(1, 0, calls=[[1]], replayed=[], reason="")
    with pytest.raises(StaleEpoch):
        store.remember_refusal(1, "hash")
    store.close()


def test_refused_configuration_is_told_from_another(path: Path) -> None:
    config = DestinationConfig("crm", "webhook", Requirement(), settings={"url": "http://a/"})
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.remember_refusal(1, config_hash(config))
    store.close()

    same = DestinationConfig("crm", "webhook", Requirement(), settings={"url": "http://a/"})
    other = DestinationConfig("crm", "webhook", Requirement(), settings={"url": "http://b/"})

    assert refused_config(path) == config_hash(same) != config_hash(other)


def keeping(**keys: float) -> DestinationConfig:
    return DestinationConfig("crm", "webhook", Requirement(), **keys)  # type: ignore[arg-type]


def test_old_letters_lose_their_events_and_stay_counted(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.commit(1, cursor=3, dead_letters=[letter(n, entered_at_ms=n * 1_000) for n in (1, 2, 3)])

    dropped = trim_letters(path, keeping(dead_letter_age_s=2.0), now_ms=4_500)

    assert dropped == 2
    assert [(item.offset, item.event, item.response) for item in store.letters.list()] == [(3, b"{}", "why")]
    assert store.state.dead == 3
    assert store.letters.show(1) is not None
    store.close()


def test_oldest_letters_make_room_for_newer_ones(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.commit(1, cursor=4, dead_letters=[letter(n, event=b"x" * 1_000) for n in (1, 2, 3, 4)])

    dropped = [trim_letters(path, keeping(dead_letter_bytes=2_100), now_ms=31) for _ in range(2)]

    assert dropped == [2, 0]
    assert [item.offset for item in store.letters.list()] == [3, 4]
    store.close()


def test_default_bounds_keep_two_weeks_and_a_gigabyte() -> None:
    config = keeping()

    assert (config.dead_letter_age_s, config.dead_letter_bytes) == (14 * 86_400, 1024**3)
