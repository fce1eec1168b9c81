"""Ids in texts: written over with as many asterisks, in files in place, so that processes can go on appending.

Words are known by their keyed hash. Ids that events were found to have are also looked for inside other words, such as
a message id that was made of one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sluicegate.delivery.whose import Whose

CHUNK_BYTES = 1024 * 1024
_WORD = re.compile(rb"[^\s\"'`=,;(){}\[\]<>]+")
_EDGES = b".:!?"
MIN_INSIDE = 5
"""Characters of an id that is looked for inside other words; a shorter one would be found everywhere."""


def erase_in_text(path: Path, whose: Whose) -> int:
    """Write over every word of a file that is an id of the subjects; returns how many words that were."""
    n_words = 0
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        at = 0
        while chunk := os.pread(fd, CHUNK_BYTES, at):
            if len(chunk) == CHUNK_BYTES:  # up to the end of a line, unless that is very long
                chunk = chunk[: chunk.rfind(b"\n") + 1] or chunk
            for start, word in _theirs(chunk, whose):
                os.pwrite(fd, b"*" * len(word), at + start)
                n_words += 1
            at += len(chunk)
    finally:
        os.close(fd)
    return n_words


def erased_words(text: str, whose: Whose) -> str:
    """A text with asterisks for every word that is an id of the subjects."""
    data = bytearray(text.encode())
    for start, word in _theirs(bytes(data), whose):
        data[start : start + len(word)] = b"*" * len(word)
    return data.decode(errors="replace")


def _theirs(data: bytes, whose: Whose) -> set[tuple[int, bytes]]:
    found = {(start, word) for start, word in _words(data) if whose.either(word.decode(errors="replace"))}
    for id_ in whose.found:
        if len(id_) >= MIN_INSIDE:
            found.update((match.start(), match.group()) for match in re.finditer(re.escape(id_.encode()), data))
    return found


def _words(chunk: bytes) -> list[tuple[int, bytes]]:
    """Words with their places: as they stand, and without what may be punctuation."""
    found = []
    for match in _WORD.finditer(chunk):
        start, word = match.start(), match.group()
        found.append((start, word))
        bare = word.strip(_EDGES)
        if bare and bare != word:
            found.append((start + word.find(bare), bare))
        name, _, rest = bare.partition(b":")
        if rest:
            found += [(start + word.find(bare), name), (start + word.find(bare) + len(name) + 1, rest)]
    return found
