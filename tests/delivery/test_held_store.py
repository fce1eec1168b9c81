from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.accounts import read_accounts
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import HELD, UNFINISHED, HeldRow, Settlement
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import StaleEpoch
from sluicegate.event import Combo
from sluicegate.paths import DataDir
from sluicegate.registry import Registration
from tests.delivery.old_layouts import take_back

WIDE = HoldBounds(1_000, 1_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DestinationStore]:
    store = DestinationStore.open(tmp_path / "crm.db", start=0)
    store.claim(1)
    yield store
    store.close()


def rows(*offsets: int, subject: int = 7, also: int | None = None, arrived_ms: int = 100) -> list[HeldRow]:
    return [HeldRow(offset, subject, also, arrived_ms + offset) for offset in offsets]


def holds(held: list[HeldRow], *, considered: int = 3, bounds: HoldBounds = WIDE) -> Holds:
    return Holds(held, considered, "rule", bounds)


def balance(store: DestinationStore) -> tuple[int, int, int, int, dict[str, int]]:
    state = store.state
    counted = state.held + state.delivered + state.dead + state.expired + sum(state.denied.values())
    assert counted == state.cursor - state.start
    return state.held, state.delivered, state.dead, state.expired, dict(state.denied)


def test_held_events_are_counted_with_the_cursor_that_passes_them(store: DestinationStore) -> None:
    store.commit(1, cursor=4, delivered=1, held=holds(rows(1, 2, 4)))

    assert balance(store) == (3, 1, 0, 0, {})
    assert (store.state.considered, store.state.held_under) == (3, "rule")
    assert store.held.of([7]) == store.held.of(None) == [1, 2, 4]


def test_the_router_holds_where_the_cursor_is_as_expected(store: DestinationStore) -> None:
    done = [
        store.skip(expected_epoch=1, expected_cursor=0, cursor=2, held=holds(rows(1, 2))),
        store.skip(expected_epoch=1, expected_cursor=0, cursor=2, held=holds(rows(1, 2))),
        store.skip(expected_epoch=0, expected_cursor=2, cursor=3, held=holds(rows(3))),
    ]

    assert done == [True, False, False]
    assert balance(store) == (2, 0, 0, 0, {})


def test_held_events_are_found_by_either_of_their_ids(store: DestinationStore) -> None:
    store.commit(1, cursor=3, held=holds([*rows(1, subject=7, also=9), *rows(2, subject=9), *rows(3, subject=-4)]))

    assert (store.held.of([9]), store.held.of([7]), store.held.of([-4]), store.held.of([5])) == ([1, 2], [1], [3], [])


def test_held_events_end_once_however_often_that_is_told(store: DestinationStore) -> None:
    letter = DeadLetter(4, "m4", Combo("track", "web"), b"{}", "400", 1, 0, 0, 0)
    store.commit(1, cursor=6, held=holds(rows(1, 2, 3, 4, 5, 6)))
    changes = HeldChanges(delivered=[1], denied={2: "hold_expired"}, gone=[3], dead=[letter], damaged=[5])

    store.settle_held(1, changes)
    store.settle_held(1, changes)

    assert balance(store) == (1, 1, 1, 2, {"hold_expired": 1})
    assert store.state.expired_by == {"damaged in the log": 1}
    assert [one.offset for one in store.letters.list()] == [4]
    assert store.held.of(None) == [6]


def test_released_events_do_not_expire_and_stay_released(store: DestinationStore) -> None:
    store.commit(1, cursor=3, held=holds(rows(1, 2, 3)))

    store.settle_held(1, HeldChanges(released=[2], considered=9, under="rule"))

    assert store.held.expired(arrived_before_ms=103, limit=10) == [1]
    assert store.held.released(limit=10) == {2: 0}
    assert store.state.considered == 9


def test_a_death_during_a_release_is_remembered(store: DestinationStore) -> None:
    store.commit(1, cursor=2, held=holds(rows(1, 2)))
    store.settle_held(1, HeldChanges(released=[1, 2]))
    store.claim(2)

    store.note_deaths(2, 1, calls=[], replayed=[], reason="", released=[2])

    assert store.held.released(limit=10) == {1: 0, 2: 1}


def test_a_death_during_a_release_counts_once_however_often_it_is_told(store: DestinationStore) -> None:
    store.commit(1, cursor=2, held=holds(rows(1, 2)))
    store.settle_held(1, HeldChanges(released=[1, 2]))

    for epoch in (2, 3):  # the second began too, failed to load, and has told it before
        store.claim(epoch)
        store.note_deaths(epoch, 1, calls=[], replayed=[], reason="", released=[1, 2])
    store.claim(4)
    store.note_deaths(4, 3, calls=[], replayed=[], reason="", released=[2])

    assert store.held.released(limit=10) == {1: 1, 2: 2}


def test_a_replaced_epoch_changes_nothing_about_held_events(store: DestinationStore) -> None:
    store.commit(1, cursor=1, held=holds(rows(1)))
    store.claim(2)

    with pytest.raises(StaleEpoch):
        store.settle_held(1, HeldChanges(delivered=[1]))
    with pytest.raises(StaleEpoch):
        store.commit(1, cursor=2, held=holds(rows(2)))

    assert balance(store) == (1, 0, 0, 0, {})


@settings(max_examples=30, deadline=None)
@given(
    commits=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), max_size=8),
    per_subject=st.integers(1, 4),
    total=st.integers(1, 20),
)
def test_bounds_keep_the_oldest_and_count_the_rest(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[int]], per_subject: int, total: int
) -> None:
    store = DestinationStore.open(tmp_path_factory.mktemp("store") / "crm.db", start=0)
    store.claim(1)
    kept: list[int] = []
    by_subject: dict[int, int] = {}
    cursor = 0
    for subjects in commits:
        coming = [HeldRow(cursor + 1 + i, subject, None, 1) for i, subject in enumerate(subjects)]
        cursor += len(coming)
        store.commit(1, cursor=cursor, held=holds(coming, bounds=HoldBounds(per_subject, total)))
        for row in coming:
            if by_subject.get(row.subject, 0) < per_subject and len(kept) < total:
                by_subject[row.subject] = by_subject.get(row.subject, 0) + 1
                kept.append(row.offset)

    n_held, *_, denied = balance(store)

    assert store.held.of(None) == kept
    assert (n_held, denied.get("hold_limit", 0)) == (len(kept), cursor - len(kept))
    store.close()


def test_store_of_version_2_is_brought_up_and_readers_cope_with_it(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    path = data_dir.store("crm")
    store = DestinationStore.open(path, start=2)
    store.claim(4)
    store.commit(4, cursor=5, delivered=2, denied={"ads": 1})
    store.close()
    connection = apsw.Connection(str(path))
    take_back(connection, 2)
    connection.close()

    before = read_accounts(data_dir, {"crm": Registration("crm", 2, 0)}, head=9)["crm"]
    store = DestinationStore.open(path, start=0)
    store.commit(4, cursor=6, held=holds(rows(6)))

    assert (before.delivered, before.held, before.denied, before.pending) == (2, 0, 1, 4)
    assert balance(store) == (1, 2, 0, 0, {"ads": 1})
    store.close()


@given(
    states=st.lists(st.sampled_from([UNFINISHED, 1, HELD]), max_size=40),
    reopened=st.sets(st.integers(1, 40)),
    denied=st.sets(st.integers(1, 40)),
)
def test_the_cursor_passes_held_events_with_their_entries(
    states: list[int], reopened: set[int], denied: set[int]
) -> None:
    settlement = Settlement(0)
    offsets = [offset for offset, state in enumerate(states, 1) if state == HELD]
    settlement.hold(rows(*offsets))
    settlement.extend(bytes(states))
    open_again = [offset for offset in offsets if offset in reopened]
    refused = [offset for offset in offsets if offset in denied - reopened]

    settlement.reopen(open_again)
    for offset in refused:
        settlement.end_hold(offset, "no")
    first = settlement.advance()
    for offset, state in enumerate(states, 1):
        if offset > first.cursor and (state == UNFINISHED or offset in open_again):
            settlement.deliver([offset])
    first.add(settlement.advance())

    still = set(offsets) - reopened - set(refused)
    assert [row.offset for row in first.held] == sorted(still)
    assert first.denied.get("no", 0) == len(refused)
    assert (first.cursor, len(first), settlement.n_held) == (len(states), len(states), 0)


def test_an_event_was_not_alone_when_a_released_one_was_on_its_way_too(store: DestinationStore) -> None:
    store.commit(1, cursor=2, held=holds(rows(1, 2)))
    store.settle_held(1, HeldChanges(released=[1]))

    store.note_deaths(1, 0, calls=[[3]], replayed=[], reason="", released=[1])

    assert [(suspect.offset, suspect.alone) for suspect in store.unsettled()[1]] == [(3, 0)]
