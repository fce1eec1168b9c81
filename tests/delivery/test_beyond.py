from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from random import Random
from unittest import mock

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.config.declaration import Limits
from sluicegate.delivery import beyond, settlement
from sluicegate.delivery.beyond import BLOCK, MAX_DEAD, Block, Ending, Remembered, block_of
from sluicegate.delivery.decided import decisions_of
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.recovery import Recovery
from sluicegate.delivery.settlement import HELD, Dead, HeldRow, Settlement
from sluicegate.eventlog.runs import Events

SMALL = 8


def dead(offset: int) -> Dead:
    return Dead(offset, f"m{offset}", b"{}", "no", 1, 0.0, 0.0)


def events(offsets: list[int]) -> Events:
    return Events.of(offsets, [f"m{o}" for o in offsets], ["s"] * len(offsets), [b"{}"] * len(offsets))


def reopened(blocks: dict[int, Block]) -> Remembered:
    """What the next process finds of these."""
    return Remembered({number: Block.unpacked(number, block.packed()) for number, block in blocks.items()})


def test_nothing_is_kept_while_the_cursor_passes_everything_that_is_settled() -> None:
    one = Settlement(0)
    one.extend(bytes(20_000))
    one.deliver(range(1, 9_001))

    one.advance()

    assert not one.news


def test_what_went_past_an_event_is_settled_for_the_next_process_too() -> None:
    one = Settlement(10)
    one.extend(bytes(6), 3)
    one.deliver([12, 13, 15], 3)
    one.advance()

    other = Settlement(10, reopened({block.number: block for block in one.blocks()}))
    marks = [bool(mark) for mark in other.marks(11, 6)]
    other.extend(bytes(6), 4)
    other.deliver([11, 14, 16], 4)

    assert marks == [False, True, True, False, True, False]
    progress = other.advance()
    assert (progress.cursor, progress.delivered) == (16, 6)
    assert progress.versions == [(1, 4), (2, 3), (1, 4), (1, 3), (1, 4)]


def test_only_blocks_that_have_changed_are_written_again() -> None:
    one = Settlement(0)
    one.extend(bytes(3 * BLOCK))
    one.deliver(range(2, 3 * BLOCK - 9))
    one.advance()
    one.news.kept(list(one.news.dead))

    one.deliver([3 * BLOCK - 5])

    assert [block.number for block in one.blocks()] == [2]
    assert one.news.numbers == [2]


def test_call_that_reaches_over_blocks_leaves_those_that_the_cursor_has_passed() -> None:
    one = Settlement(0)
    one.extend(bytes(3 * BLOCK))
    one.deliver([*range(1, BLOCK + 900), 2 * BLOCK + 900])
    one.advance()

    (block,) = one.blocks()

    assert list(Remembered({block.number: block}).endings(0, 3 * BLOCK)) == [(("delivered", 0), [2 * BLOCK + 900])]


def test_block_that_is_not_read_to_its_end_keeps_what_was_settled_there() -> None:
    old = Block(0, bytes([0] * 50 + [1] * 50), [Ending("delivered", 7)])
    one = Settlement(9, Remembered({0: old}))
    one.extend(bytes(20), 8)  # offsets 10 to 29 are read, 50 to 99 not yet
    one.deliver([20], 8)
    one.advance()

    (block,) = one.blocks()

    told = {o: ending for ending, offsets in Remembered({0: block}).endings(0, 200) for o in offsets}
    assert told == {20: ("delivered", 8)} | {o: ("delivered", 7) for o in range(50, 100)}


def test_gap_in_the_log_does_not_undo_what_was_settled() -> None:
    one = Settlement(0, Remembered({0: Block(0, b"\0\0\1", [Ending("denied:no use", 0)])}))

    one.expire(3)

    progress = one.advance()
    assert (progress.expired, progress.denied) == (2, {"no use": 1})


def test_held_expired_and_damaged_events_are_not_kept_for_they_are_decided_anew() -> None:
    one = Settlement(0)
    one.hold([HeldRow(2, 1, None, 0)])
    one.extend(bytes([0, HELD, 0]))
    one.expire(1)
    one.lose(1)
    one.deliver([3])
    one.advance()

    (block,) = one.blocks()

    assert [offset for _, offsets in Remembered({0: block}).endings(0, 9) for offset in offsets] == [3]


def test_event_that_has_died_is_dead_when_it_is_read_again_and_has_its_bytes_from_the_log() -> None:
    one = Settlement(0, Remembered(dead={2: (dead(2), 5)}))
    one.extend(bytes(3), 6)

    rest, redacted = one.take_dead(events([1, 2, 3]))
    one.deliver([1, 3], 6)

    assert (rest.offsets, redacted) == ([1, 3], [])
    progress = one.advance()
    assert [(letter.offset, letter.raw, letter.message_id) for letter in progress.dead] == [(2, b"{}", "m2")]
    assert progress.versions == [(1, 6), (1, 5), (1, 6)]


def test_event_that_has_died_and_must_go_redacted_now_becomes_no_dead_letter() -> None:
    one = Settlement(0, Remembered(dead={1: (dead(1), 5)}))
    one.extend(bytes(1))

    rest, redacted = one.take_dead(events([1]).marked(b"\1"))

    assert (len(rest), redacted) == (0, [1])


@pytest.mark.parametrize(
    ("remembered", "states"),
    [
        (Remembered({0: Block(0, b"\0\0\1\1", [Ending("delivered", 0)])}), b"\0\1\1\0\0"),
        (Remembered(dead={2: (dead(2), 0), 3: (dead(3), 0)}), bytes(5)),
    ],
)
def test_call_around_what_is_settled_is_noted_event_by_event_for_the_process_that_comes_after(
    remembered: Remembered, states: bytes
) -> None:
    lanes = Lanes(0, Limits(), recovery=Recovery(remembered=remembered))
    lanes.add(states, events([1, *(offset for offset in (2, 3) if offset in remembered.dead), 4, 5]))

    (work,) = lanes.next_batches(0.0)

    assert (work.batch.offsets, work.lane.scattered) == ([1, 4, 5], True)


def test_stories_are_bounded_and_make_room_when_the_cursor_passes_them() -> None:
    one = Settlement(0)
    one.extend(bytes(MAX_DEAD + 9))
    for offset in range(2, MAX_DEAD + 9):
        one.bury(dead(offset))
    one.advance()
    kept = sorted(one.news.dead)
    one.news.kept(list(one.news.dead))
    one.deliver([1])
    one.advance()

    one.bury(dead(MAX_DEAD + 9))

    assert kept == list(range(2, MAX_DEAD + 2))
    assert list(one.news.dead) == [MAX_DEAD + 9]


def test_ending_for_which_a_block_has_no_place_is_left_out() -> None:
    versions = array("Q", range(300))

    block = block_of(0, 0, bytes([1] * 300), versions, words={1: "delivered"})

    assert block is not None
    assert (len(block.endings), block.last) == (255, 254)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xff",
        msgpack.packb([1, [["delivered", 0]], b"\2"]),
        msgpack.packb([2, [["delivered", 0]], b"\1\0"]),
        msgpack.packb([1, [["dead", 0]], b"\1"]),
        msgpack.packb([1, [["delivered:by magic", 0]], b"\1"]),
        msgpack.packb([BLOCK + 1, [["delivered", 0]], b"\1"]),
        msgpack.packb([9, [["delivered", 0]], b"\1\1"]),
    ],
)
def test_block_that_makes_no_sense_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        Block.unpacked(0, packed)


@dataclass
class Lives:
    """One process after the other settles the same events; each finds what the ones before have committed."""

    random: Random
    fates: list[str]
    blocks: dict[int, Block] = field(default_factory=dict)
    stories: dict[int, tuple[Dead, int]] = field(default_factory=dict)
    cursor: int = 0
    words: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    committed: dict[int, tuple[str, int]] = field(default_factory=dict)
    """What was committed of events that the cursor had not passed."""
    slow: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.slow = {o for o in range(1, len(self.fates) + 1) if self.random.random() < 0.1}

    def live(self, version: int, *, dies: bool) -> None:
        """From the cursor on until it dies, or until everything is settled."""
        one = Settlement(self.cursor, Remembered(dict(reopened(self.blocks).blocks), dict(self.stories)))
        waiting: list[int] = []
        settled: dict[int, tuple[str, int]] = dict(self.committed)
        while one.cursor < len(self.fates) and not (dies and self.random.random() < 0.1):
            self._read(one, waiting, settled, version)
            self._end_some(one, waiting, settled, version)
            if self.random.random() < 0.3:
                self._commit(one, settled)
        if not dies:
            self._commit(one, settled)

    def _read(self, one: Settlement, waiting: list[int], settled: dict[int, tuple[str, int]], version: int) -> None:
        first = one.last + 1
        n = min(self.random.randrange(12), len(self.fates) - one.last)
        marks = one.marks(first, n).ljust(n, b"\0")
        if n and self.random.random() < 0.1:
            one.expire(n)  # the log has let go of them
            settled |= {o: ("expired", version) for o in range(first, first + n) if not marks[o - first]}
            return
        denied = {o for o in range(first, first + n) if self.fates[o - 1] == "denied:by type"}
        code = one.code("by type")
        one.extend(bytes([1 if marks[o - first] else code * (o in denied) for o in range(first, first + n)]), version)
        settled |= {o: ("denied:by type", version) for o in denied if not marks[o - first]}
        read = [o for o in range(first, first + n) if not marks[o - first] and o not in denied]
        rest, _ = one.take_dead(events(read)) if read else (Events(), [])
        waiting += rest.offsets if read else []

    def _end_some(self, one: Settlement, waiting: list[int], settled: dict[int, tuple[str, int]], version: int) -> None:
        chosen = sorted(o for o in waiting if self.random.random() < (0.02 if o in self.slow else 0.4))
        for offset in chosen:
            assert offset not in self.committed, "it was settled, and is delivered again"
            waiting.remove(offset)
            word = self.fates[offset - 1]
            settled[offset] = word, version
            if word == "dead":
                one.bury(dead(offset), version)
            elif word.startswith("denied"):
                one.deny(offset, word.partition(":")[2], version)
            else:
                one.deliver([offset], version, redacted=word == "delivered:redacted")

    def _commit(self, one: Settlement, settled: dict[int, tuple[str, int]]) -> None:
        progress = one.advance()
        decisions = decisions_of(progress, one.reasons)
        self.words += [word for word, n in decisions.column.runs() for _ in range(n)]
        self.versions += [version for n, version in decisions.versions for _ in range(n)]
        self.cursor = progress.cursor
        self.blocks |= {block.number: block for block in one.blocks()}
        self.stories |= {o: (one_dead, one.version_of(o)) for o, one_dead in one.news.dead.items()}
        one.news.kept(list(one.news.dead))
        self.blocks = {number: block for number, block in self.blocks.items() if block.last > self.cursor}
        self.stories = {o: story for o, story in self.stories.items() if o > self.cursor}
        called = (
            o for o, (word, _) in settled.items() if o > self.cursor and word not in ("expired", "denied:by type")
        )
        self.committed = {o: settled[o] for o in called}
        for offset, (word, version) in settled.items():
            if offset <= self.cursor:
                assert self.words[offset - 1] == word
                assert word == "expired" or self.versions[offset - 1] == version


FATES = ("delivered", "delivered", "delivered:redacted", "denied:no use", "dead", "denied:by type")


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_what_was_committed_is_not_delivered_again_and_nothing_is_lost_however_often_it_dies(seed: int) -> None:
    random = Random(seed)
    n_events, n_lives = random.randrange(1, 90), random.randrange(1, 12)
    lives = Lives(random, [random.choice(FATES) for _ in range(n_events)])

    with mock.patch.object(beyond, "BLOCK", SMALL), mock.patch.object(settlement, "BLOCK", SMALL):
        for version in range(n_lives):
            lives.live(version, dies=True)
        lives.live(n_lives, dies=False)

    assert lives.cursor == n_events
    ends = zip(lives.words, lives.fates, strict=True)
    assert [(word, fate) for word, fate in ends if word not in (fate, "expired")] == []
