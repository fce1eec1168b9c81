from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.accounts import words_of
from sluicegate.delivery.beyond import Beyond, Block, Ending
from sluicegate.delivery.held import HeldChanges, HoldBounds, Holds
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import StaleEpoch
from sluicegate.event import Combo
from sluicegate.eventlog.base import Offset
from tests.simulation.store import CONFIG_HASH, ModelStore
from tests.simulation.storefile import Moved, StoreFile


class Deaf:
    """Hears nothing."""

    def claimed(self, id: str, epoch: int) -> None: ...
    def settled_beyond(self, id: str, beyond: Beyond, before: Mapping[Offset, str]) -> None: ...
    def moved(self, id: str, epoch: int, change: Moved) -> None: ...
    def unheld(self, id: str, epoch: int, words: Mapping[Offset, str], letters: Sequence[DeadLetter]) -> None: ...
    def released(self, id: str, offsets: Sequence[Offset]) -> None: ...
    def replayed(self, id: str, letters: Sequence[DeadLetter], *, delivered: bool) -> None: ...


def letter(offset: int) -> DeadLetter:
    return DeadLetter(offset, f"m{offset}", Combo("track", "web"), b"{}", "400", 1, 0, 0, 0)


def holds(before: Offset, random: Random) -> Holds | None:
    """Some events to hold after an offset, of which there may be no room for all."""
    n_held = random.randrange(4)
    rows = [HeldRow(before + 1 + i, random.randrange(2), None, before + i) for i in range(n_held)]
    bounds = HoldBounds(random.choice((1, 2, 9)), random.choice((2, 5, 99)))
    return Holds(rows, random.randrange(9), "rule", bounds) if n_held else None


def beyond(after: Offset, random: Random) -> Beyond | None:
    """Some events beyond an offset have ended."""
    codes = bytes(after + 2) + bytes(random.randrange(2) for _ in range(3)) + b"\1"
    dead = [replace(letter(after + 2 + random.randrange(4)), event=b"")] if random.random() < 0.3 else []
    return Beyond([Block(0, codes, [Ending("delivered", 1)])], dead) if random.random() < 0.5 else None


def held_changes(offsets: Sequence[Offset], random: Random) -> HeldChanges:
    """Something happens to each of the held events, and to one that is not held."""
    how = {offset: random.randrange(6) for offset in (*offsets, 99_999)}
    chosen = [[offset for offset, one in how.items() if one == kind] for kind in range(5)]
    return HeldChanges(
        delivered=chosen[0],
        denied=dict.fromkeys(chosen[1], "withdrawn"),
        dead=[letter(offset) for offset in chosen[2]],
        gone=chosen[3],
        released=chosen[4],
        considered=random.choice((None, 7)),
        under="other",
    )


def remembered(store: DestinationStore | ModelStore, epoch: int) -> object:
    found = store.remembered(epoch, head=99_999)
    return found.blocks, {offset: (dead.reason, version) for offset, (dead, version) in found.dead.items()}


def outcome(call: Callable[[], object]) -> object:
    try:
        result = call()
    except (StaleEpoch, ValueError) as error:
        return type(error)
    return result


class Pair:
    """The real store and the model, which get the same calls."""

    def __init__(self, path: Path) -> None:
        self.real = DestinationStore.open(path, start=3, config_hash=CONFIG_HASH)
        self.file = StoreFile("x", 3, Deaf())
        self.model = ModelStore(self.file)

    def both(self, call: Callable[[DestinationStore | ModelStore], object]) -> None:
        assert outcome(lambda: call(self.real)) == outcome(lambda: call(self.model))
        assert self.real.state == self.model.state
        real, model = self.real.letters.list(limit=1_000), list(self.file.content.letters.values())
        assert list(real) == model
        assert list(self.real.letters.replays(limit=9)) == list(self.model.letters.replays(limit=9))
        assert self.real.held.of(None) == self.model.held.of(None)
        assert self.real.held.released(limit=9) == self.model.held.released(limit=9)
        assert self.real.held.oldest() == self.model.held.oldest()
        words = dict(Counter(self.file.content.decided))
        assert {word: n for word, n in words_of(self.real.state).items() if n} == words


def act(pair: Pair, random: Random) -> None:
    epoch = random.randrange(4)
    state = pair.model.state
    match random.randrange(9):
        case 0:
            pair.both(lambda store: store.claim(epoch))
        case 1 | 2:
            counts = [random.randrange(3) for _ in range(4)]
            letters = [letter(state.cursor + 1 + i) for i in range(counts[3])]
            wrong = random.random() < 0.2
            held = holds(state.cursor + counts[0] + counts[1] + counts[3], random)
            cursor = state.cursor + sum(counts) + wrong + (len(held.rows) if held else 0)
            ended = beyond(cursor, random)
            pair.both(
                lambda store: store.commit(
                    epoch,
                    cursor=cursor,
                    beyond=ended,
                    held=held,
                    delivered=counts[0],
                    expired=counts[1],
                    denied={"no": counts[2]} if counts[2] else {},
                    dead_letters=letters,
                )
            )
        case 3:
            expired, denied, at = random.randrange(2), random.randrange(3), state.cursor - random.randrange(2)
            held = holds(at + expired, random)
            pair.both(
                lambda store: store.skip(
                    expected_epoch=epoch,
                    expected_cursor=at,
                    cursor=at + expired + denied + (len(held.rows) if held else 0),
                    held=held,
                    denied={"nope": denied} if denied else {},
                    expired=expired,
                )
            )
        case 4:
            changes = held_changes(pair.real.held.of(None), random)
            pair.both(lambda store: store.settle_held(epoch, changes))
        case 5:
            ids = pair.real.held.of(None)[:2]
            pair.both(lambda store: store.note_deaths(epoch, 0, calls=[], replayed=[], reason="", released=ids))
        case 6:
            pair.both(lambda store: remembered(store, epoch))
        case 7:
            assert pair.real.letters.mark_replay() == pair.file.mark_replay()
            pair.both(lambda store: store.state)
        case _:
            ids = [*pair.file.content.letters, 99]
            how = {id: random.randrange(4) for id in ids}
            pair.both(
                lambda store: store.settle_replay(
                    epoch,
                    delivered=[id for id in ids if how[id] == 0],
                    failed={id: "again" for id in ids if how[id] == 1},
                    denied={id: "withdrawn" for id in ids if how[id] == 2},
                    now_ms=7,
                )
            )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_model_store_does_what_the_real_one_does(seed: int) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder) / "x.db")
        for _ in range(40):
            act(pair, random)
        pair.real.close()


def test_power_cut_takes_back_whole_commits_only() -> None:
    file = StoreFile("x", 0, Deaf())
    store = ModelStore(file)
    store.claim(1)
    store.commit(1, cursor=2, delivered=2)
    file.sync()
    store.commit(1, cursor=3, dead_letters=[letter(3)])
    store.commit(1, cursor=5, denied={"no": 2})

    file.cut(lambda n_states: n_states - 2)

    assert (file.content.cursor, file.content.dead, file.content.denied) == (3, 1, {})


@pytest.mark.parametrize("kept", [0, 1])
def test_version_of_the_model_tells_others_changes_from_its_own(kept: int) -> None:
    file = StoreFile("x", 0, Deaf())
    store, other = ModelStore(file), ModelStore(file)
    store.claim(1)
    before = store.data_version()
    store.commit(1, cursor=1, delivered=1)

    own = store.data_version()
    if kept:
        other.commit(1, cursor=2, delivered=1)

    assert own == before
    assert (store.data_version() != before) == bool(kept)
