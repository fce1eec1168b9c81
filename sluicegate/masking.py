"""Keeping secrets out of texts for people: logs, statuses, dead letters, tracebacks."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_CHARS = 4
"""Shorter secrets are not masked: the mask would hit everything and hide nothing."""
MIN_WORD_CHARS = 8
"""Parts of a secret (`Bearer TOKEN`) are masked by themselves from this length on."""
MIN_CUT_CHARS = 6
"""A text that ends with so many first characters of a secret was cut within it."""
_MAX_CUT_CHARS = 128


class Mask:
    """Replaces secrets in texts, in every spelling in which libraries show them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._longest_first: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these too from now on."""
        known = {spelling for secret in secrets for spelling in _spellings(secret)}.union(self._longest_first)
        self._longest_first = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text with `***` for every secret, one that was cut at its end included."""
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, MASK)
        end = text[-_MAX_CUT_CHARS:]
        begun = (_n_begun(end, secret) for secret in self._longest_first if secret[:MIN_CUT_CHARS] in end)
        cut = max(begun, default=0)
        return text[:-cut] + MASK if cut else text


hidden = Mask()
"""What this process, and all that it forks, must not show: `hide` adds to it, everything shown passes through it."""


def hide(secrets: Iterable[str]) -> None:
    """Keep these out of everything that this process, and those that it will fork, log and report."""
    hidden.add(secrets)


def _spellings(secret: str) -> Iterator[str]:
    words = [word for word in re.split(r"[\s,;]+", secret) if len(word) >= MIN_WORD_CHARS]
    for text in (secret, *words):
        if len(text) < MIN_CHARS:
            continue
        yield from (text, quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1], repr(text)[1:-1])
        yield base64.b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")
        yield base64.b64encode(f"{text}:".encode("utf-8", "surrogatepass")).decode().rstrip("=")
        if len(text) >= MIN_WORD_CHARS:
            yield from _within_base64(text.encode("utf-8", "surrogatepass"))


def _within_base64(secret: bytes) -> Iterator[str]:
    """What Base64 makes of it behind other bytes (`user:SECRET`), less the characters that it shares with those."""
    for n_before, n_shared in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(n_before) + secret)
        yield encoded[n_shared : (n_before + len(secret)) * 8 // 6].decode()


def _n_begun(text: str, secret: str) -> int:
    """How many first characters of the secret the text ends with, 0 for too few to tell."""
    longest = min(len(secret) - 1, len(text))
    return next((n for n in range(longest, MIN_CUT_CHARS - 1, -1) if text.endswith(secret[:n])), 0)
