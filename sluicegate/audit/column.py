"""How events ended, in their order, in as few bytes as that takes.

A column has **pieces** of neighbouring events: `(n, code)` where all ended alike, `(n, bytes)` where not, with one byte
per event, as a Zstandard frame (RFC 8878) where that is shorter. Codes are places in the column's own list of words, so
that a column can be read alone. Beside it runs a list of `[n, version]`: the ledger versions of the decisions.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import zstandard

MERGE_EVENTS = 4_096
"""Pieces are made one while they have no more events together, so that single events do not get a piece each."""
MAX_PIECE = 1 << 20
"""Events of a piece that are not all alike; bounds what reading takes."""
MAX_WORDS = 256
_RUN = re.compile(rb"(.)\1*", re.DOTALL)

Piece = tuple[int, int | bytes]
Versions = list[tuple[int, int]]
"""Runs of (number of events, ledger version), in order."""


class _Codec(threading.local):
    """Frames without magic number and size; one pair for each thread."""

    def __init__(self) -> None:
        magicless = zstandard.FORMAT_ZSTD1_MAGICLESS
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3, format=magicless, write_content_size=0, window_log=20
        )
        self.compress = zstandard.ZstdCompressor(compression_params=parameters).compress
        self.decompress = zstandard.ZstdDecompressor(format=magicless).decompress


_codec = _Codec()


@dataclass(slots=True)
class Column:
    """How events ended, in order; `add_codes` and `add_run` append."""

    words: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def __len__(self) -> int:
        return sum([n for n, _ in self.pieces])

    def add_run(self, word: str, n: int) -> None:
        """Append `n` events that ended alike."""
        if n:
            self._add(n, self._code(word))

    def add_codes(self, codes: bytes | bytearray, words: Mapping[int, str]) -> None:
        """Append one event per byte, which `words` has the meaning of."""
        if not codes:
            return
        if codes == codes[:1] * len(codes):
            return self.add_run(words[codes[0]], len(codes))
        table = bytearray(256)
        for code, word in words.items():
            if code in codes:
                table[code] = self._code(word)
        for start in range(0, len(codes), MAX_PIECE):
            piece = bytes(codes[start : start + MAX_PIECE].translate(table))
            self._add(len(piece), packed_codes(piece))

    def extend(self, other: Column) -> None:
        """Append another column."""
        table = bytes([self._code(word) for word in other.words])
        same = table == bytes(range(len(table)))
        for n, data in other.pieces:
            if isinstance(data, int):
                self._add(n, table[data])
            else:
                self._add(
                    n, data if same else packed_codes(unpacked_codes(n, data).translate(table.ljust(256, b"\x00")))
                )

    def fits(self, other: Column) -> bool:
        """Whether there is room for the words of another column."""
        return len({*self.words, *other.words}) <= MAX_WORDS

    def word_at(self, place: int) -> str:
        """How the event at this place ended; raises `IndexError`."""
        for n, data in self.pieces:
            if place < n:
                return self._word(data if isinstance(data, int) else unpacked_codes(n, data)[place])
            place -= n
        raise IndexError(place)

    def runs(self) -> Iterator[tuple[str, int]]:
        """The words with the number of neighbouring events that ended so; neighbours may repeat a word."""
        for n, data in self.pieces:
            if isinstance(data, int):
                yield self._word(data), n
            else:
                yield from ((self._word(code), length) for code, length in _code_runs(unpacked_codes(n, data)))

    def counts(self) -> Counter[str]:
        """How many events ended in each word; raises `ValueError` for a column that makes no sense."""
        found: Counter[str] = Counter()
        for n, data in self.pieces:
            if isinstance(data, int):
                found[self._word(data)] += n
                continue
            codes = unpacked_codes(n, data)
            for code in set(codes):
                found[self._word(code)] += codes.count(code)
        return found

    def _word(self, code: int) -> str:
        if not 0 <= code < len(self.words):
            raise ValueError(f"outcome {code} has no word")
        return self.words[code]

    def _code(self, word: str) -> int:
        if word not in self.words:
            if len(self.words) == MAX_WORDS:
                raise ValueError(f"more than {MAX_WORDS} outcomes in one column")
            self.words.append(word)
        return self.words.index(word)

    def _add(self, n: int, data: int | bytes) -> None:
        if not self.pieces:
            self.pieces.append((n, data))
            return
        before, last = self.pieces[-1]
        if isinstance(data, int) and data == last:
            self.pieces[-1] = (before + n, last)
        elif before + n <= MERGE_EVENTS:
            self.pieces[-1] = (before + n, packed_codes(unpacked_codes(before, last) + unpacked_codes(n, data)))
        else:
            self.pieces.append((n, data))


def add_version(versions: Versions, n: int, version: int) -> None:
    """Append events that were decided under this version of the ledger."""
    if not n:
        return
    if versions and versions[-1][1] == version:
        versions[-1] = (versions[-1][0] + n, version)
    else:
        versions.append((n, version))


def add_versions(versions: Versions, more: Iterable[tuple[int, int]]) -> None:
    """Append runs."""
    for n, version in more:
        add_version(versions, n, version)


def set_version(versions: Versions, place: int, version: int) -> None:
    """Say that the event at this place was decided under another version."""
    runs, at = list(versions), 0
    versions.clear()
    for n, one in runs:
        n_before = min(n, max(0, place - at))
        add_version(versions, n_before, one)
        if n_before < n and at + n_before == place:
            add_version(versions, 1, version)
            n_before += 1
        add_version(versions, n - n_before, one)
        at += n


def version_at(versions: Sequence[tuple[int, int]], place: int) -> int:
    """The version under which the event at this place was decided; raises `IndexError`."""
    for (_, version), end in zip(versions, accumulate(n for n, _ in versions), strict=True):
        if place < end:
            return version
    raise IndexError(place)


def packed_codes(codes: bytes) -> bytes:
    """One byte per event as it is stored: a frame where that is shorter."""
    frame = _codec.compress(codes)
    return frame if len(frame) < len(codes) else codes


def unpacked_codes(n: int, data: int | bytes) -> bytes:
    """One byte per event; raises `ValueError` for what was not packed by us."""
    if isinstance(data, int):
        return bytes((data,)) * n
    if len(data) == n:
        return data
    if n > MAX_PIECE:
        raise ValueError(f"a piece of {n} events is too long")
    try:
        codes: bytes = _codec.decompress(data, max_output_size=n)
    except (zstandard.ZstdError, MemoryError) as error:  # a damaged frame may say that it has exabytes
        raise ValueError(f"a piece cannot be decompressed: {error}") from error
    if len(codes) != n:
        raise ValueError(f"a piece has {len(codes)} events and not {n}")
    return codes


def _code_runs(codes: bytes) -> Iterator[tuple[int, int]]:
    for match in _RUN.finditer(codes):
        yield codes[match.start()], match.end() - match.start()
