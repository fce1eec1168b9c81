"""The message ids of the last so many hours, as 64-bit hashes: which of these are new?

Pure: no clock, no disk. A hash costs about 90 bytes: an int, its place in a set, and 8 bytes in the order of arrival,
by which the oldest go first.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sluicegate.eventlog.splitset import N_PARTS, Hashes, SplitSet, extend

BLOCK_IDS = 8_192
"""Hashes that expire together; dropping so many takes about half a millisecond."""
BLOCKS_PER_WINDOW = 96
"""A block spans at most this part of the window (15 minutes of a day): an id may be remembered so much longer."""
DROPS_AT_A_TIME = 2
"""Blocks that one call lets go of, so that no append pays for all that came due during a silence."""


@dataclass(slots=True)
class Block:
    """Hashes that came together; `newest_ms` is when the last came, `last` the log's head after it."""

    oldest_ms: int
    newest_ms: int
    last: int
    parts: list[array[int]] = field(default_factory=lambda: [array("Q") for _ in range(N_PARTS)])
    n_hashes: int = 0

    def extend(self, hashes: Hashes) -> None:
        """Take in more hashes."""
        extend(self.parts, hashes)
        self.n_hashes += len(hashes)


class IdWindow:
    """Remembers hashes for `window_ms`, `max_ids` of them at most.

    An id is first claimed, then kept once its event is stored, or released when it was not. Times are the log's own
    and may jump: backwards they stand still, and back by more than the window they show that those before were wrong.
    """

    def __init__(self, *, window_ms: int, max_ids: int) -> None:
        self.window_ms = window_ms
        self.max_ids = max_ids
        self._block_ids = max(1, min(BLOCK_IDS, max_ids // 16))
        self._block_ms = window_ms // BLOCKS_PER_WINDOW
        self._seen = SplitSet()
        self._blocks: deque[Block] = deque()
        self._unsaved: deque[Block] = deque()
        self._sealed = True
        self._n_kept = 0
        self._now_ms = 0
        self._forgot_until_ms: int | None = None

    def __len__(self) -> int:
        return self._n_kept

    def covers_ms(self) -> int:
        """How far back ids are known: the window, or less when there were too many."""
        if self._forgot_until_ms is None:
            return self.window_ms
        return max(0, min(self.window_ms, self._now_ms - self._forgot_until_ms))

    # -- asking -----------------------------------------------------------------------------------------------------

    def claim(self, hashes: Hashes, at_ms: int) -> bool:
        """Claim all of these if each is new and there once; else change nothing and say False."""
        self._advance(at_ms)
        self._expire(DROPS_AT_A_TIME)
        return self._seen.add_all_new(hashes)

    def claim_new(self, hashes: Iterable[int], at_ms: int) -> list[bool]:
        """Claim those that are new, and say of each whether it was."""
        self._advance(at_ms)
        self._expire(len(self._blocks))
        return list(map(self._seen.add_new, hashes))

    def release(self, hashes: Hashes) -> None:
        """The events of these claims were not stored."""
        self._seen.remove(hashes)

    def keep(self, hashes: Hashes, at_ms: int, *, last: int) -> None:
        """The events of these claims are stored, and the log's head is `last`."""
        block = self._open_block(at_ms)
        block.extend(hashes)
        block.newest_ms = max(block.newest_ms, self._now_ms)
        block.last = last
        self._n_kept += len(hashes)
        self._bound()

    def add(self, hashes: Hashes, at_ms: int, *, last: int) -> None:
        """Take in what is stored already."""
        self._advance(at_ms)
        self._seen.add_later(hashes.parts)
        self.keep(hashes, at_ms, last=last)

    # -- saving -----------------------------------------------------------------------------------------------------

    def add_saved(self, parts: list[array[int]], newest_ms: int, *, last: int) -> None:
        """Take in a block that was saved."""
        self._advance(newest_ms)
        self._seen.add_later(parts)
        block = Block(newest_ms, newest_ms, last, parts, sum(map(len, parts)))
        self._blocks.append(block)
        self._sealed = True
        self._n_kept += block.n_hashes
        self._bound()

    def unsaved(self) -> list[Block]:
        """The blocks that are not saved yet; they will not change any more."""
        self._sealed = True
        return list(self._unsaved)

    def saved(self, blocks: Sequence[Block]) -> None:
        """These blocks need no more saving; some may have been dropped since `unsaved` gave them."""
        done = {id(block) for block in blocks}
        while self._unsaved and id(self._unsaved[0]) in done:
            self._unsaved.popleft()

    @property
    def expired_before_ms(self) -> int:
        """Blocks whose newest id came before this time are forgotten."""
        return self._now_ms - self.window_ms

    # -- time and number --------------------------------------------------------------------------------------------

    def _advance(self, at_ms: int) -> None:
        if at_ms >= self._now_ms - self.window_ms:
            self._now_ms = max(self._now_ms, at_ms)
            return
        self._now_ms = at_ms
        self._forgot_until_ms = None
        for block in self._blocks:
            block.newest_ms = min(block.newest_ms, at_ms)
            block.oldest_ms = min(block.oldest_ms, at_ms)

    def _open_block(self, at_ms: int) -> Block:
        now_ms = self._now_ms
        block = self._blocks[-1] if self._blocks else None
        if (
            block is None
            or self._sealed
            or block.n_hashes >= self._block_ids
            or now_ms - block.oldest_ms > self._block_ms
        ):
            block = Block(now_ms, now_ms, 0)
            self._blocks.append(block)
            self._unsaved.append(block)
            self._sealed = False
        return block

    def _expire(self, at_most: int) -> None:
        while at_most > 0 and self._blocks and self._blocks[0].newest_ms < self.expired_before_ms:
            self._drop()
            at_most -= 1

    def _bound(self) -> None:
        while self._n_kept > self.max_ids and len(self._blocks) > 1:
            self._forgot_until_ms = self._blocks[0].newest_ms
            self._drop()

    def _drop(self) -> None:
        block = self._blocks.popleft()
        if self._unsaved and self._unsaved[0] is block:  # or they would gather in a log that is never idle
            self._unsaved.popleft()
        self._n_kept -= block.n_hashes
        if self._blocks:
            self._seen.remove_parts(block.parts)
        else:
            self._seen = SplitSet()
            self._sealed = True
