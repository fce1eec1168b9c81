"""Decisions that come a row of the log at a time, until they are written together."""

from __future__ import annotations

from collections.abc import Sequence

from sluicegate.audit.chain import Decisions
from sluicegate.audit.column import Column, Versions, add_version

FLUSH_EVENTS = 16_384
"""Kept as a byte each, then packed: of a thousand destinations that is 16 MB."""
RUN_EVENTS = 1_024


class Gathering:
    """Outcomes and versions of consecutive events; adding takes time for each row and not for each event."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._column = Column()
        self._versions: Versions = []
        self._codes = bytearray()

    def add_run(self, word: str, n: int, version: int) -> None:
        """Events that ended alike."""
        if n <= 0:
            return
        if n < RUN_EVENTS:
            self._take(bytes((self._code(word),)) * n)
        else:
            self._flush()
            self._column.add_run(word, n)
        add_version(self._versions, n, version)

    def add_coded(self, codes: bytes, words: Sequence[str], version: int) -> None:
        """Events by places in a list of words."""
        table = bytes(map(self._code, words)).ljust(256, b"\x00")
        self._take(codes.translate(table))
        add_version(self._versions, len(codes), version)

    def add_each(self, words: Sequence[str], version: int) -> None:
        """Events by a word each."""
        distinct = {word: self._code(word) for word in dict.fromkeys(words)}
        if len(distinct) == 1:
            return self.add_run(words[0], len(words), version)
        self._take(bytes([distinct[word] for word in words]))
        add_version(self._versions, len(words), version)

    def told(self) -> Decisions:
        """Everything so far, for the one who writes it."""
        self._flush()
        return Decisions(Column(list(self._column.words), list(self._column.pieces)), list(self._versions))

    def keep_last(self, n: int) -> None:
        """Forget all but the last events: the others are written."""
        words = [word for word, length in self.told().column.runs() for _ in range(length)] if n else []
        versions = [version for length, version in self._versions for _ in range(length)] if n else []
        self._clear()
        for word, version in zip(words[len(words) - n :], versions[len(versions) - n :], strict=True):
            self.add_run(word, 1, version)

    def _code(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words))

    def _take(self, codes: bytes) -> None:
        self._codes += codes
        if len(self._codes) >= FLUSH_EVENTS:
            self._flush()

    def _flush(self) -> None:
        self._column.add_codes(self._codes, {code: word for word, code in self._words.items()})
        self._codes.clear()
