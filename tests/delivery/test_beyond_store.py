from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import check_cursors
from sluicegate.config.model import Requirement
from sluicegate.consent.subject import SubjectKeys
from sluicegate.delivery.beyond import BLOCK, Beyond, Block, Ending
from sluicegate.delivery.beyond_store import ending_of
from sluicegate.delivery.erasing_store import erase_in_store
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import Stage
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.whose import Whose
from sluicegate.errors import LogDamaged, StaleEpoch
from sluicegate.event import Combo
from sluicegate.fsck.check import check
from sluicegate.fsck.databases import cursors
from sluicegate.paths import DataDir
from tests.delivery.old_layouts import take_back

SENT = Block(0, b"\0\0\0\1\1", [Ending("delivered", 7)])
"""Events 3 and 4 are delivered."""
STORY = DeadLetter(
    6, "m6", Combo("track", "web"), b"", "no", 3, 10, 20, 30, stage=Stage.GIVEN_UP, first_error="busy", http_status=429,
    response="for anne@example.com", epoch=1, config_hash="c", ledger_version=5,
)  # fmt: skip
BEYOND = Beyond([SENT], [STORY])
NEEDS = Requirement(("analytics",))


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    return data_dir


@pytest.fixture
def path(data_dir: DataDir) -> Path:
    return data_dir.store("crm")


@pytest.fixture
def store(path: Path) -> Iterator[DestinationStore]:
    """One whose process was killed after it had committed what lies beyond its cursor."""
    first = DestinationStore.open(path, start=0, requires=NEEDS)
    first.claim(1)
    first.commit(1, cursor=1, delivered=1, beyond=BEYOND)
    first.close()
    store = DestinationStore.open(path, start=0, requires=NEEDS)
    store.claim(2)
    yield store
    store.close()


def n_rows(path: Path) -> int:
    connection = apsw.Connection(str(path))
    (blocks,), (stories,) = connection.execute("SELECT count(*) FROM beyond UNION ALL SELECT count(*) FROM beyond_dead")
    connection.close()
    return int(blocks) + int(stories)


def test_next_process_finds_what_was_settled_beyond_the_cursor(store: DestinationStore) -> None:
    found = store.remembered(2, head=9)

    assert found.blocks == {0: SENT}
    dead, version = found.dead[6]
    assert (version, dead.stage, dead.reason, dead.attempts, dead.epoch, dead.config_hash) == (
        5,
        Stage.GIVEN_UP,
        "no",
        3,
        1,
        "c",
    )
    assert (dead.first_error, dead.status, dead.response) == ("busy", 429, "for anne@example.com")
    assert store.state.settled_to == 6


def test_it_does_not_count_before_the_cursor_passes_it(store: DestinationStore) -> None:
    state = store.state

    assert (state.cursor, state.delivered, state.dead) == (1, 1, 0)


def test_it_is_gone_when_the_cursor_has_passed_it(store: DestinationStore, path: Path) -> None:
    store.remembered(2, head=9)
    store.commit(2, cursor=5, delivered=4)
    left = store.state.settled_to

    store.commit(2, cursor=6, dead_letters=[replace(STORY, event=b"{}")])

    assert (left, store.state.settled_to, n_rows(path)) == (6, 0, 0)


def test_blocks_that_the_cursor_has_passed_are_removed_one_by_one(store: DestinationStore, path: Path) -> None:
    later = [Block(number, b"\1", [Ending("delivered", 0)]) for number in (1, 2)]
    store.remembered(2, head=3 * BLOCK)
    store.commit(2, cursor=6, delivered=5, beyond=Beyond(later))

    store.commit(2, cursor=2 * BLOCK - 1, delivered=2 * BLOCK - 7)

    assert (n_rows(path), store.state.settled_to) == (1, 2 * BLOCK)


def test_process_of_an_older_epoch_neither_writes_nor_reads_it(store: DestinationStore, path: Path) -> None:
    before = n_rows(path)

    with pytest.raises(StaleEpoch):
        store.commit(1, cursor=1, beyond=Beyond([Block(2, b"\1", [Ending("delivered", 0)])]))
    with pytest.raises(StaleEpoch):
        store.remembered(1, head=9)

    assert n_rows(path) == before


def test_router_moves_no_cursor_towards_what_is_settled_already(store: DestinationStore) -> None:
    moved = store.skip(expected_epoch=2, expected_cursor=1, cursor=3, denied={"no": 2})

    assert (moved, store.state.cursor, store.state.denied) == (False, 1, {})


def test_what_was_settled_under_another_requirement_is_decided_again(store: DestinationStore, path: Path) -> None:
    other = DestinationStore.open(path, start=0, requires=Requirement(("marketing",)))
    other.claim(3)

    found = other.remembered(3, head=9)

    assert (found.blocks, list(found.dead)) == ({}, [6])
    other.close()


@pytest.mark.parametrize("column", ["last", "told", "seal"])
def test_damaged_block_is_not_believed_and_stops_nobody(store: DestinationStore, path: Path, column: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(f"UPDATE beyond SET {column} = {'zeroblob(9)' if column == 'told' else column + ' + 1'}")
    connection.execute("UPDATE beyond_dead SET story = CAST(replace(CAST(story AS TEXT), '429', '428') AS BLOB)")
    connection.close()

    found = store.remembered(2, head=9)

    assert (found.blocks, found.dead, n_rows(path)) == ({}, {}, 0)


def test_check_finds_a_damaged_block_and_a_repair_removes_it(
    store: DestinationStore, path: Path, data_dir: DataDir
) -> None:
    store.close()
    whole = check(data_dir, repair=False, progress=lambda *_: None)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE beyond SET told = zeroblob(9)")
    connection.close()

    found = [one.what for one in check(data_dir, repair=False, progress=lambda *_: None)]
    check(data_dir, repair=True, progress=lambda *_: None)

    ours = [one for one in found if "beyond" in one]
    assert ours == ["1 of its notes of what is settled beyond its cursor cannot be read"]
    assert not any("beyond" in one.what for one in whole)
    assert (n_rows(path), not any("beyond" in one.what for one in check(data_dir, repair=False, progress=print))) == (
        1,
        True,
    )


def test_log_that_ends_before_it_is_not_taken_for_the_same(
    store: DestinationStore, data_dir: DataDir, path: Path
) -> None:
    with pytest.raises(LogDamaged, match="has read up to 6"):
        check_cursors(data_dir, ["crm"], head=5)

    assert max(cursors(data_dir)) == 6
    assert not store.remembered(2, head=5)
    assert n_rows(path) == 0


def test_damaged_end_neither_stops_the_start_nor_adds_lost_events_to_the_log(
    store: DestinationStore, data_dir: DataDir, path: Path
) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE beyond SET last = last + (1 << 40); UPDATE beyond_dead SET log_offset = 1 << 41")
    connection.close()

    check_cursors(data_dir, ["crm"], head=5)

    assert max(cursors(data_dir)) == 1


def test_erased_event_loses_its_story_and_others_lose_the_words_about_its_subject(
    store: DestinationStore, path: Path
) -> None:
    store.remembered(2, head=9)
    store.commit(2, cursor=1, beyond=Beyond([], [replace(STORY, offset=8)]))
    keys = SubjectKeys(b"k" * 32)
    whose = Whose([keys.user("anne@example.com")], keys)

    erase_in_store(path, whose, lambda offset: offset == 6, up_to=9)

    kept = store.remembered(2, head=9).dead
    assert {offset: dead.response for offset, (dead, _) in kept.items()} == {8: "for ****************"}
    store.commit(2, cursor=8, delivered=6, dead_letters=[replace(STORY, offset=8, event=b"{}")])
    assert [letter.response for letter in store.letters.list()] == ["for ****************"]


def test_words_that_were_erased_from_a_failing_event_are_not_kept_in_its_story(store: DestinationStore) -> None:
    store.remembered(2, head=9)
    store.commit(2, cursor=1, retries=[PendingRetry(0, [8], 1, 0.0, 0.0, "erased")])

    store.commit(2, cursor=1, beyond=Beyond([], [replace(STORY, offset=8)]))

    assert store.remembered(2, head=9).dead[8][0].first_error == "erased"


def test_store_of_version_6_is_brought_up(path: Path) -> None:
    DestinationStore.open(path, start=0).close()
    connection = apsw.Connection(str(path))
    take_back(connection, 6)
    connection.close()

    store = DestinationStore.open(path, start=0)
    store.claim(1)
    store.commit(1, cursor=1, delivered=1, beyond=BEYOND)

    assert store.state.settled_to == 6
    store.close()


def test_one_can_ask_how_an_event_beyond_the_cursor_has_ended(store: DestinationStore, path: Path) -> None:
    assert ending_of(path, 3) == ("delivered", 7)
    assert ending_of(path, 6) == ("dead", 5)
    assert ending_of(path, 5) is None
    assert ending_of(path.with_name("other.db"), 3) is None


def test_event_that_died_and_was_forbidden_since_has_ended_as_forbidden(store: DestinationStore, path: Path) -> None:
    erased = Block(0, b"\0\0\0\1\1\0\2", [Ending("delivered", 7), Ending("denied:erased", 9)])

    store.commit(2, cursor=1, beyond=Beyond([erased]))

    assert ending_of(path, 6) == ("denied:erased", 9)
    assert store.remembered(2, head=9).blocks[0].endings[1] == ("denied:erased", 9)


def test_nothing_is_written_for_it_while_nothing_is_beyond(path: Path) -> None:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    said: list[str] = []
    store._db.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: said.append(event["sql"]))

    store.commit(1, cursor=9, delivered=9)

    assert not any("beyond" in sql for sql in said)
    store.close()
