"""Dropped dead letters do not pile up for ever, and the accounts of what is forgotten still add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.accounts import store_schema
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery import letter_bounds
from sluicegate.delivery.letters import DeadLetter, LetterFilter, LetterStatus
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo
from sluicegate.fsck.databases import store_faults
from sluicegate.sqlite import connect

CRM = DestinationConfig("crm", "webhook", Requirement(("necessary",)))
DROPPED = LetterFilter(status=LetterStatus.DROPPED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


@pytest.fixture
def store(path: Path) -> Iterator[DestinationStore]:
    store = DestinationStore.open(path, start=0)
    store.claim(1)
    letters = [DeadLetter(n, f"m{n}", Combo("track", "web"), b"{}", "400", 1, 1, 1, n) for n in range(1, 6)]
    store.commit(1, cursor=5, dead_letters=letters)
    yield store
    store.close()


def faults(path: Path) -> list[str]:
    db = connect(path, store_schema(0))
    try:
        return store_faults(db)
    finally:
        db.close()


def test_only_the_newest_dropped_letters_are_kept_and_all_stay_counted(store: DestinationStore, path: Path) -> None:
    store.letters.drop(LetterFilter(ids=[1, 2, 4]))

    assert store.letters.forget(keep=1) == 2

    assert [letter.id for letter in store.letters.list(DROPPED)] == [4]
    assert [letter.id for letter in store.letters.list()] == [3, 5]
    assert (store.state.dead, faults(path)) == (5, [])
    assert store.letters.forget(keep=1) == 0


def test_letters_that_wait_are_never_forgotten(store: DestinationStore) -> None:
    store.letters.mark_replay(LetterFilter(ids=[1]))

    assert store.letters.forget(keep=0) == 0
    assert store.letters.count() == 5


def test_housekeeping_forgets(store: DestinationStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_bounds, "MAX_DROPPED", 2)

    n_dropped = letter_bounds.trim_letters(path, CRM, now_ms=4 + round(CRM.dead_letter_age_s * 1000))

    assert n_dropped == 3
    assert [letter.id for letter in store.letters.list(DROPPED)] == [2, 3]
    assert (store.state.dead, faults(path)) == (5, [])
