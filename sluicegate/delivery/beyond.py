"""What is settled beyond the cursor, as it is kept for the next process.

Pure. While one event goes on failing the cursor stands before it, and what went past it must not go again after a
restart. Offsets lie in **blocks** of 4,096 with one byte for each: 0 for one that is not settled, else a place in the
block's list of endings. Only blocks in which something was settled since the last commit are written again, and at most
`lanes.MAX_SPAN` offsets can lie beyond the cursor, so there are 246 of them at the most. What is left out is delivered
again; nothing is ever taken for settled that is not.

Dead events have their story instead. Their bytes stay in the log, so that erasing finds them there alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import msgpack
import msgspec

from sluicegate.audit.column import packed_codes, unpacked_codes
from sluicegate.audit.words import DELIVERED, REDACTED, denied, reason_of
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.runs import Events

if TYPE_CHECKING:
    from sluicegate.delivery.letters import DeadLetter
    from sluicegate.delivery.settlement import Dead

BLOCK = 4_096
MAX_ENDINGS = 255
"""Different endings in a block; an event with one more is delivered again."""
MAX_DEAD = 1_000
"""Dead events beyond the cursor whose stories are kept; one more is tried again. A story has up to 4 KB."""


class Ending(NamedTuple):
    """How an event ended, in a word of the audit, and the version of the ledger by which that was decided."""

    word: str
    version: int


class _Packed(msgspec.Struct, array_like=True):
    """A block as it is stored."""

    n: int
    endings: list[tuple[str, int]]
    codes: bytes


_unpack = msgspec.msgpack.Decoder(_Packed).decode


@dataclass(frozen=True, slots=True)
class Block:
    """How the offsets from `number * BLOCK` on ended: `codes` are places in `endings`, from 1 on, and end with one."""

    number: int
    codes: bytes
    endings: Sequence[Ending]

    @property
    def first(self) -> Offset:
        """The offset that the first code is of."""
        return self.number * BLOCK

    @property
    def last(self) -> Offset:
        """The last offset that is settled."""
        return self.first + len(self.codes) - 1

    def packed(self) -> bytes:
        """As it is stored."""
        packed: bytes = msgpack.packb([len(self.codes), self.endings, packed_codes(self.codes)])
        return packed

    @classmethod
    def unpacked(cls, number: int, packed: bytes) -> Block:
        """The block in a row; raises `ValueError` for what is none."""
        told = _unpack(packed)
        if not 0 < told.n <= BLOCK:
            raise ValueError(f"a block of {told.n} offsets")
        codes = unpacked_codes(told.n, told.codes)
        endings = [Ending(*ending) for ending in told.endings]
        if not codes[-1] or max(codes) > len(endings):
            raise ValueError("an offset has no ending")
        if unknown := [word for word, _ in endings if not _is_kept(word)]:
            raise ValueError(f"{unknown[0]!r} is no ending")
        return cls(number, codes, endings)


@dataclass(frozen=True, slots=True)
class Beyond:
    """What is to be written: the blocks that have changed, and the events that have died since; those have no bytes."""

    blocks: Sequence[Block] = ()
    dead: Sequence[DeadLetter] = ()


def block_of(
    number: int,
    first: Offset,
    states: bytes | bytearray,
    versions: int | array[int],
    *,
    words: Mapping[int, str],
    rest: Block | None = None,
) -> Block | None:
    """The block in which offsets from `first` on are in these states, of which those with a word are kept.

    `versions` is one for all, or one of each. `rest` has what is known of the offsets after them. None when nothing is
    settled.
    """
    places: dict[Ending, int] = {}

    def place(ending: Ending) -> int:
        return places.setdefault(ending, len(places) + 1) if len(places) < MAX_ENDINGS else places.get(ending, 0)

    if isinstance(versions, int):
        table = bytearray(256)
        for state in sorted(set(states).intersection(words)):
            table[state] = place(Ending(words[state], versions))
        codes = bytes(states).translate(table)
    else:
        pairs = list(zip(states, versions, strict=True))
        kept = {(state, version): place(Ending(words[state], version)) for state, version in pairs if state in words}
        codes = bytes([kept.get(pair, 0) for pair in pairs])
    codes = bytes(first - number * BLOCK) + codes
    if rest is not None:
        codes += bytes([code and place(rest.endings[code - 1]) for code in rest.codes[len(codes) :]])
    codes = codes.rstrip(b"\0")
    return Block(number, codes, list(places)) if codes else None


@dataclass(slots=True)
class Remembered:
    """What earlier processes have settled beyond the cursor, until the log has been read that far."""

    blocks: dict[int, Block] = field(default_factory=dict)
    dead: dict[Offset, tuple[Dead, int]] = field(default_factory=dict)
    """Without ids and bytes, which the log has, and each with the ledger's version by which it went out last."""

    def __bool__(self) -> bool:
        return bool(self.blocks)

    @property
    def last(self) -> Offset:
        """The last offset that is known to be settled, 0 when none is."""
        return max([*(block.last for block in self.blocks.values()), *self.dead], default=0)

    def marks(self, first: Offset, n: int) -> bytes:
        """Of so many offsets which are settled: a byte that is not 0 for each."""
        end = first + n
        marks = b""
        while first < end:
            number = first // BLOCK
            stop = min(end, (number + 1) * BLOCK)
            block = self.blocks.get(number)
            codes = b"" if block is None else block.codes[first - number * BLOCK : stop - number * BLOCK]
            marks += codes.ljust(stop - first, b"\0")
            first = stop
        return marks

    def endings(self, first: Offset, n: int) -> Iterator[tuple[Ending, list[Offset]]]:
        """How those of so many offsets ended that are settled."""
        for number in range(first // BLOCK, (first + n - 1) // BLOCK + 1):
            block = self.blocks.get(number)
            if block is None:
                continue
            start = max(first, block.first)
            codes = block.codes[start - block.first : first + n - block.first]
            for place in sorted(set(codes) - {0}):
                yield block.endings[place - 1], [offset for offset, code in enumerate(codes, start) if code == place]

    def forget(self, last: Offset) -> None:
        """The log has been read up to this offset."""
        for number in [number for number, block in self.blocks.items() if block.last <= last]:
            del self.blocks[number]

    def take_dead(self, events: Events) -> tuple[Events, list[tuple[Dead, int]], list[Offset]]:
        """Events that were read, parted: those that go on, those that are dead, and those that would be if they did not
        have to go redacted."""
        offsets = events.offsets
        known = bytes([offset in self.dead for offset in offsets])
        if not any(known):
            return events, [], []
        dead, redacted = [], []
        theirs = events.select(known)
        for index, offset in enumerate(theirs.offsets):
            one = theirs.slice(index, index + 1)
            story, version = self.dead.pop(offset)
            if one.runs[0].redact:
                redacted.append(offset)
            else:
                dead.append((replace(story, message_id=one.message_ids[0], raw=one.joined()), version))
        return events.select(bytes([not one for one in known])), dead, redacted


class News:
    """What was settled beyond the cursor since blocks and stories were kept last."""

    def __init__(self, remembered: Remembered) -> None:
        self.dead: dict[Offset, Dead] = {}
        """Those whose stories are to be kept."""
        self._told = set(remembered.dead)
        """Those for which that is done."""
        self._touched: dict[int, Offset] = {}
        """The blocks that have changed, each with the last of its offsets that may have."""

    def __bool__(self) -> bool:
        return bool(self._touched or self.dead)

    @property
    def numbers(self) -> list[int]:
        """The blocks that have changed."""
        return sorted(self._touched)

    def touch(self, first: Offset, last: Offset) -> None:
        """Some offsets from `first` to `last` were settled."""
        for number in range(first // BLOCK, last // BLOCK + 1):
            self._touched[number] = max(min(last, (number + 1) * BLOCK - 1), self._touched.get(number, 0))

    def bury(self, dead: Dead) -> None:
        """This one is dead; its story is kept where there is room."""
        if dead.offset not in self._told and len(self._told) + len(self.dead) < MAX_DEAD:
            self.dead[dead.offset] = dead

    def passed(self, cursor: Offset) -> None:
        """The cursor has moved: what it passed need not be kept here."""
        self._touched = {number: last for number, last in self._touched.items() if last > cursor}
        if self.dead or self._told:
            self.dead = {offset: dead for offset, dead in self.dead.items() if offset > cursor}
            self._told = {offset for offset in self._told if offset > cursor}

    def kept(self, dead: Iterable[Offset]) -> None:
        """What has changed is kept, and the stories of these are."""
        self._touched.clear()
        for offset in dead:
            del self.dead[offset]
            self._told.add(offset)


def _is_kept(word: str) -> bool:
    return word in (DELIVERED, REDACTED) or word == denied(reason_of(word))
