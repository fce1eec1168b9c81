from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from sluicegate.accounts import StoreState
from sluicegate.consent.subject import SubjectKeys
from sluicegate.delivery.erasing_store import erase_in_store
from sluicegate.delivery.lane import PendingRetry
from sluicegate.delivery.letters import DeadLetter, LetterFilter, LetterStatus
from sluicegate.delivery.store import DestinationStore
from sluicegate.delivery.whose import Whose
from sluicegate.errors import LogDamaged, LogUnavailable, StaleEpoch
from sluicegate.event import Combo
from sluicegate.testing.disk import FaultyDisk

COMBO = Combo("track", "web", (("ads", True), ("necessary", True)), ("crm",), ("mail",), False)


def letter(offset: int, *, reason: str = "400 bad name", entered_at_ms: int = 30) -> DeadLetter:
    return DeadLetter(
        offset,
        f"m-{offset}",
        COMBO,
        b'{"type":"track"}',
        reason,
        attempts=2,
        first_attempt_at_ms=10,
        last_attempt_at_ms=20,
        entered_at_ms=entered_at_ms,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


@pytest.fixture
def store(path: Path) -> Iterator[DestinationStore]:
    store = DestinationStore.open(path, start=0)
    yield store
    store.close()


@pytest.fixture
def with_letters(store: DestinationStore) -> DestinationStore:
    store.claim(1)
    store.commit(
        1,
        cursor=3,
        dead_letters=[
            letter(1, reason="400 Bad Name", entered_at_ms=10),
            letter(2, reason="413 too large", entered_at_ms=20),
            letter(3, reason="400 bad name", entered_at_ms=30),
        ],
    )
    return store


def ids(letters: object) -> list[int]:
    return [item.id for item in letters]  # type: ignore[attr-defined]


def test_new_store_begins_at_its_start(path: Path) -> None:
    assert DestinationStore.open(path, start=7).state == StoreState(epoch=0, start=7, cursor=7)


def test_old_store_keeps_its_own_start(path: Path) -> None:
    DestinationStore.open(path, start=7).close()

    assert DestinationStore.open(path, start=9).state.start == 7


def test_commit_moves_cursor_and_counts_together(path: Path, store: DestinationStore) -> None:
    store.claim(1)

    store.commit(1, cursor=7, delivered=3, expired=1, denied={"a": 1, "b": 1}, dead_letters=[letter(4)])
    store.commit(1, cursor=9, denied={"a": 2})

    expected = StoreState(1, start=0, cursor=9, delivered=3, dead=1, expired=1, denied={"a": 3, "b": 1})
    assert store.state == expected
    assert DestinationStore.open(path, start=0).state == expected


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_only_a_greater_epoch_may_claim(store: DestinationStore, epoch: int) -> None:
    store.claim(2)

    with pytest.raises(StaleEpoch):
        store.claim(epoch)

    assert store.claim(3).epoch == 3


def test_replaced_epoch_cannot_commit(path: Path, store: DestinationStore) -> None:
    store.claim(1)
    DestinationStore.open(path, start=0).claim(2)

    with pytest.raises(StaleEpoch, match="epoch 1 was replaced by epoch 2"):
        store.commit(1, cursor=1, delivered=1)
    with pytest.raises(StaleEpoch):
        store.settle_replay(1, failed={}, denied={}, now_ms=1)

    assert store.state.cursor == 0


@pytest.mark.parametrize("delivered", [0, 2, -1])
def test_counts_must_be_what_the_cursor_moves_by(store: DestinationStore, delivered: int) -> None:
    store.claim(1)

    with pytest.raises(ValueError, match="count"):
        store.commit(1, cursor=1, delivered=delivered)

    assert store.state == StoreState(1, start=0, cursor=0)


def test_failed_commit_keeps_nothing_of_its_parts(path: Path) -> None:
    disk = FaultyDisk()
    try:
        store = DestinationStore.open(path, start=0)
        store.claim(1)
        disk.full = True

        with pytest.raises(LogUnavailable, match="disk is full"):
            store.commit(1, cursor=2, denied={"a": 1}, dead_letters=[letter(1)])
        disk.full = False

        assert (store.state.cursor, store.state.denied, store.letters.count()) == (0, {}, 0)
        store.commit(1, cursor=1, delivered=1)
        store.close()
    finally:
        disk.unregister()


def test_skip_moves_only_what_it_expected(store: DestinationStore) -> None:
    store.claim(3)

    assert not store.skip(expected_epoch=2, expected_cursor=0, cursor=1, denied={"a": 1})
    assert not store.skip(expected_epoch=3, expected_cursor=1, cursor=2, denied={"a": 1})
    assert store.skip(expected_epoch=3, expected_cursor=0, cursor=3, denied={"a": 2}, expired=1)

    assert store.state == StoreState(3, start=0, cursor=3, expired=1, denied={"a": 2})


def test_skip_must_count_what_it_skips(store: DestinationStore) -> None:
    with pytest.raises(ValueError, match="the cursor moves by 2"):
        store.skip(expected_epoch=0, expected_cursor=0, cursor=2, denied={"a": 1})


def test_letter_is_kept_as_it_was(with_letters: DestinationStore) -> None:
    found = with_letters.letters.show(2)

    assert found is not None
    assert (found.offset, found.message_id, found.combo, found.type) == (2, "m-2", COMBO, "track")
    assert (found.event, found.reason, found.attempts) == (b'{"type":"track"}', "413 too large", 2)
    assert (found.first_attempt_at_ms, found.last_attempt_at_ms, found.entered_at_ms) == (10, 20, 20)
    assert found.status is LetterStatus.DEAD
    assert with_letters.letters.show(99) is None


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (LetterFilter(), [1, 2, 3]),
        (LetterFilter(reason="BAD name"), [1, 3]),
        (LetterFilter(since_ms=20), [2, 3]),
        (LetterFilter(until_ms=20), [1]),
        (LetterFilter(reason="400", since_ms=11), [3]),
        (LetterFilter(message_id="m-2"), [2]),
        (LetterFilter(ids=[3, 1, 99]), [1, 3]),
        (LetterFilter(ids=[]), []),
        (LetterFilter(reason="%"), []),
        (LetterFilter(status=LetterStatus.REPLAY), []),
    ],
)
def test_filter_chooses_letters(with_letters: DestinationStore, where: LetterFilter, expected: list[int]) -> None:
    assert ids(with_letters.letters.list(where)) == expected
    assert with_letters.letters.count(where) == len(expected)


def test_letters_are_listed_in_pages(with_letters: DestinationStore) -> None:
    letters = with_letters.letters

    assert ids(letters.list(limit=2)) == [1, 2]
    assert ids(letters.list(limit=2, after=2)) == [3]


def test_replayed_letters_are_marked_once(with_letters: DestinationStore) -> None:
    letters = with_letters.letters

    marked = [letters.mark_replay(LetterFilter(ids=[1, 2])), letters.mark_replay(), letters.mark_replay()]

    assert marked == [2, 1, 0]
    assert ids(letters.replays(limit=2)) == [1, 2]


@pytest.mark.parametrize(
    "damage", ["combo = 'x'", "combo = '[1]'", "stage = 'rejecued'", "first_error = CAST(x'ff' AS TEXT)"]
)
def test_letter_that_cannot_be_read_keeps_no_other_from_its_replay(
    path: Path, with_letters: DestinationStore, damage: str
) -> None:
    letters = with_letters.letters
    letters.mark_replay()
    with apsw.Connection(str(path)) as db:
        db.execute(f"UPDATE dead_letters SET {damage} WHERE id = 1")

    replays = letters.replays(limit=1)

    assert ids(replays) == [2]
    assert letters.statuses([1, 2]) == {1: "dead", 2: "replay"}
    with pytest.raises(LogDamaged, match=r"is damaged: .*fsck --repair"):
        letters.list()


def test_settled_replays_move_between_the_counts(with_letters: DestinationStore) -> None:
    with_letters.letters.mark_replay()

    with_letters.settle_replay(1, delivered=[1], failed={2: "500 again"}, denied={3: "ads denied"}, now_ms=99)

    state = with_letters.state
    assert (state.delivered, state.dead, state.denied, state.cursor) == (1, 1, {"ads denied": 1}, 3)
    (left,) = with_letters.letters.list()
    assert (left.id, left.status, left.reason, left.attempts) == (2, LetterStatus.DEAD, "500 again", 3)
    assert (left.last_attempt_at_ms, left.first_attempt_at_ms) == (99, 10)


def test_replay_settled_twice_counts_once(with_letters: DestinationStore) -> None:
    with_letters.letters.mark_replay(LetterFilter(ids=[1]))

    for _ in range(2):
        with_letters.settle_replay(1, delivered=[1, 2], failed={}, denied={}, now_ms=99)

    assert (with_letters.state.delivered, with_letters.state.dead) == (1, 2)


def test_dropped_letter_stays_counted_as_dead(with_letters: DestinationStore) -> None:
    letters = with_letters.letters

    dropped = letters.drop(LetterFilter(reason="400"))

    assert (dropped, with_letters.state.dead, letters.count()) == (2, 3, 1)
    assert [(item.status, item.event) for item in letters.find("m-1")] == [(LetterStatus.DROPPED, b"")]
    assert letters.mark_replay(LetterFilter(ids=[1])) == 0
    assert letters.drop(LetterFilter(status=LetterStatus.DROPPED)) == 0


def test_letter_dropped_during_its_replay_counts_as_what_became_of_it(with_letters: DestinationStore) -> None:
    with_letters.letters.mark_replay()
    with_letters.letters.drop()

    with_letters.settle_replay(1, delivered=[1], failed={2: "500"}, denied={}, now_ms=99)

    assert (with_letters.state.delivered, with_letters.state.dead) == (1, 2)
    assert with_letters.letters.find("m-2")[0].status is LetterStatus.DROPPED


def test_other_connections_changes_are_noticed(path: Path, store: DestinationStore) -> None:
    store.claim(1)
    before = store.data_version()
    store.commit(1, cursor=1, dead_letters=[letter(1)])
    own = store.data_version()

    DestinationStore.open(path, start=0).letters.mark_replay()

    assert own == before
    assert store.data_version() != before


def test_store_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_bytes(b"")

    with pytest.raises(LogDamaged, match="is not a Sluicegate destination store"):
        DestinationStore.open(path, start=0)


def test_what_was_erased_of_a_first_error_comes_back_neither_with_the_retry_nor_as_a_dead_letter(
    store: DestinationStore,
) -> None:
    told = PendingRetry(0, [1, 2], 1, 0.0, 0.0, "said by anne")
    store.claim(1)
    store.commit(1, cursor=0, retries=[told])
    erase_in_store(store.path, Whose((), SubjectKeys(b"")), lambda offset: offset == 1, up_to=2)

    store.commit(1, cursor=0, retries=[told])
    remembered = store.unsettled()[0]
    store.commit(1, cursor=2, denied={"erased": 1}, dead_letters=[replace(letter(2), first_error="said by anne")])

    assert [retry.first_error for retry in remembered] == ["erased"]
    assert [one.first_error for one in store.letters.list()] == ["erased"]
