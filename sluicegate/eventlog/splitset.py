"""A set of 64-bit hashes in parts: one large set would stop everything for a quarter of a second when it grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

N_PARTS = 16
_MASK = N_PARTS - 1
_FEW = 32
"""Up to so many hashes it is cheaper to go through them one by one than to split them first."""


class SplitSet:
    """What `set` does for hashes, as far as it is needed."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[set[int]] = [set() for _ in range(N_PARTS)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, one: int) -> bool:
        return one in self._parts[one & _MASK]

    def add_all_new(self, hashes: Sequence[int]) -> bool:
        """Add all of these if none is there and none comes twice; else change nothing and say False."""
        if len(hashes) <= _FEW:
            return self._add_few(hashes)
        split = self._split(hashes)
        for part, ours in split:
            if not part.isdisjoint(ours):
                return False
        for part, ours in split:
            n_before = len(part)
            part.update(ours)
            if len(part) != n_before + len(ours):
                self.remove(hashes)
                return False
        return True

    def _add_few(self, hashes: Sequence[int]) -> bool:
        parts = self._parts
        for place, one in enumerate(hashes):
            part = parts[one & _MASK]
            if one in part:
                self.remove(hashes[:place])
                return False
            part.add(one)
        return True

    def add(self, hashes: Iterable[int]) -> None:
        """Add these, whether they are there or not."""
        for part, ours in self._split(hashes):
            part.update(ours)

    def remove(self, hashes: Iterable[int]) -> None:
        """Remove those of these that are there."""
        for part, ours in self._split(hashes):
            part.difference_update(ours)

    def _split(self, hashes: Iterable[int]) -> list[tuple[set[int], list[int]]]:
        split: list[list[int]] = [[] for _ in range(N_PARTS)]
        for one in hashes:
            split[one & _MASK].append(one)
        return [(part, ours) for part, ours in zip(self._parts, split, strict=True) if ours]
