"""Ids in texts: written over with as many asterisks, in files in place, so that processes can go on appending.

Words are known by their keyed hash. Ids that events were found to have are also looked for inside other words, such as
a message id that was made of one. Either may be spelled as JSON and URLs spell it, in a vendor's answer for instance.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

from sluicegate.delivery.whose import Whose

CHUNK_BYTES = 1024 * 1024
_WORD = re.compile(rb"[^\s\"'`=,;(){}\[\]<>]+")
_EDGES = b".:!?\\"
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
    found = {(start, word) for start, word in _words(data) if any(map(whose.either, _readings(word)))}
    for id_ in whose.found:
        if len(id_) >= MIN_INSIDE:
            for pattern in _spellings(id_):
                found.update((match.start(), match.group()) for match in pattern.finditer(data))
    return found


def _readings(word: bytes) -> Iterator[str]:
    """What a word says: as it stands, and without what a URL or JSON has escaped."""
    text = word.decode(errors="replace")
    yield text
    if "%" in text or "+" in text:
        yield unquote_plus(text)
    while "\\" in text:  # once more for JSON within JSON
        with suppress(ValueError):
            text = json.loads(f'"{text}"')
            yield text
            continue
        return


def _spellings(id_: str) -> set[re.Pattern[bytes]]:
    """The id as it is, and as URLs and JSON spell it; hexadecimal digits may be of either case."""
    escaped = {id_, json.dumps(id_)[1:-1], json.dumps(id_, ensure_ascii=False)[1:-1]}
    twice = {json.dumps(one, ensure_ascii=False)[1:-1] for one in escaped}
    spelled = escaped | twice | {quote(id_, ""), quote_plus(id_)}
    return {re.compile(re.escape(one.encode()), re.IGNORECASE * (one != id_)) for one in spelled}


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
