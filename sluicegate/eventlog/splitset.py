"""A set of 64-bit hashes in parts: one large set would stop everything for a quarter of a second when it grows.

What is known already can be added for later: it takes its place when its part is first looked at. So whoever starts
with millions of hashes waits for none of them, and the first question for those of its part (about 10 ms of 2 million).
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

N_PARTS = 16
_MASK = N_PARTS - 1
_FEW = 32

Parts = Sequence[Sequence[int]]
"""Hashes by the part that they belong to."""


def _no_parts() -> list[list[int]]:
    return [[] for _ in range(N_PARTS)]


class Hashes(list[int]):
    """Some hashes, which must not change any more; they are split once, by whoever asks first."""

    __slots__ = ("_parts",)

    _parts: list[list[int]]

    @property
    def are_few(self) -> bool:
        """Whether it is cheaper to go through them one by one than to split them."""
        return len(self) <= _FEW

    @property
    def parts(self) -> list[list[int]]:
        """By the part that they belong to."""
        try:
            return self._parts
        except AttributeError:
            parts = self._parts = _no_parts()
        for one in self:
            parts[one & _MASK].append(one)
        return parts


def extend(parts: Sequence[array[int]], hashes: Hashes) -> None:
    """Append the hashes to the parts that they belong to."""
    if hashes.are_few:
        for one in hashes:
            parts[one & _MASK].append(one)
    else:
        for part, ours in zip(parts, hashes.parts, strict=True):
            part.extend(ours)


def to_bytes(parts: Sequence[array[int]]) -> bytes:
    """How many hashes each part has, then the hashes, all as 64-bit numbers of this machine."""
    return b"".join(map(array.tobytes, (array("Q", map(len, parts)), *parts)))


def from_bytes(data: bytes) -> list[array[int]]:
    """What `to_bytes` was given; ValueError or TypeError when these are no such bytes."""
    numbers = array("Q", data)
    sizes = numbers[:N_PARTS]
    if len(sizes) < N_PARTS or sum(sizes) != len(numbers) - N_PARTS:
        raise ValueError("their numbers do not add up")
    ends = list(accumulate(sizes, initial=N_PARTS))
    return [numbers[begin:end] for begin, end in pairwise(ends)]


class SplitSet:
    """What `set` does for hashes, as far as it is needed; one that was added for later n times stays for n removals."""

    __slots__ = ("_later", "_more", "_parts", "_settled")

    def __init__(self) -> None:
        self._parts: list[set[int]] = [set() for _ in range(N_PARTS)]
        self._later: list[deque[Sequence[int]]] = [deque() for _ in range(N_PARTS)]
        self._settled = True
        """Whether nothing is left that was added for later."""
        self._more: Counter[int] = Counter()
        """How often hashes were added beyond the first time."""

    def __len__(self) -> int:
        self._settle(range(N_PARTS))
        return sum(map(len, self._parts))

    def add_all_new(self, hashes: Hashes) -> bool:
        """Add all of these if none is there and none comes twice; else change nothing and say False."""
        if hashes.are_few:
            return self._add_few(hashes)
        self._settle(range(N_PARTS))
        for there, ours in zip(self._parts, hashes.parts, strict=True):
            if not there.isdisjoint(ours):
                return False
        for there, ours in zip(self._parts, hashes.parts, strict=True):
            n_before = len(there)
            there.update(ours)
            if len(there) != n_before + len(ours):
                self.remove(hashes)
                return False
        return True

    def add_new(self, one: int) -> bool:
        """Add this one and say whether it was new."""
        return self._add_few((one,))

    def _add_few(self, hashes: Sequence[int]) -> bool:
        if not self._settled:
            self._settle({one & _MASK for one in hashes})
        parts = self._parts
        for place, one in enumerate(hashes):
            part = parts[one & _MASK]
            if one in part:
                self._remove_few(hashes[:place])
                return False
            part.add(one)
        return True

    def add_later(self, parts: Parts) -> None:
        """Add these, whether they are there or not; they must not change any more."""
        for later, ours in zip(self._later, parts, strict=True):
            if ours:
                later.append(ours)
        self._settled = False

    def _remove_few(self, hashes: Sequence[int]) -> None:
        for one in hashes:
            self._parts[one & _MASK].remove(one)

    def remove(self, hashes: Hashes) -> None:
        """Remove those of these that are there."""
        self.remove_parts(hashes.parts)

    def remove_parts(self, parts: Parts) -> None:
        """The same, for hashes that are split already: free of charge for what was added for later and still waits."""
        for at, ours in enumerate(parts):
            later = self._later[at]
            if later and later[0] is ours:
                later.popleft()
            elif ours:
                self._settle((at,))
                self._parts[at].difference_update(self._gone(ours) if self._more else ours)

    def _gone(self, hashes: Iterable[int]) -> Iterable[int]:
        """Those of these that were not added once more."""
        for one in hashes:
            if n_more := self._more.pop(one, 0):
                if n_more > 1:
                    self._more[one] = n_more - 1
            else:
                yield one

    def _settle(self, places: Iterable[int]) -> None:
        """Put what was added for later to these parts where it is looked up."""
        if self._settled:
            return
        for at in places:
            self._settle_part(at)
        self._settled = not any(self._later)

    def _settle_part(self, at: int) -> None:
        hashes = list(chain.from_iterable(self._later[at]))
        self._later[at].clear()
        part, new = self._parts[at], set(hashes)
        if len(new) == len(hashes) and part.isdisjoint(new):
            part |= new
            return
        for one in hashes:
            if one in part:
                self._more[one] += 1
            else:
                part.add(one)
