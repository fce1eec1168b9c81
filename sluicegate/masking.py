"""Keeping secrets out of texts for people: logs, statuses, dead letters, tracebacks."""

from __future__ import annotations

import base64
import html
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
_ESCAPE = (
    r"%[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[\"'/\\]"
    r"|&(?:#[0-9]{1,4}|#x[0-9a-fA-F]{1,4}|amp|lt|gt|quot|apos);"
)
_FOR_URLS = str.maketrans("+/", "-_")
"""From Base64 to the letters that it has in URLs (RFC 4648, section 5)."""
_has_escape = re.compile(_ESCAPE).search
_characters = re.compile(f"{_ESCAPE}|.", re.DOTALL).findall


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
        if self._longest_first and _has_escape(text):
            text = self._without_escaped(text)
        begun = (_n_begun(text, secret) for secret in self._longest_first)
        cut = max(begun, default=0)
        return text[:-cut] + MASK if cut else text

    def _without_escaped(self, text: str) -> str:
        """The text without secrets of which any characters are escaped, as vendors do that quote them."""
        written = _characters(text)
        meant = "".join(map(_meant, written))
        for secret in self._longest_first:
            at = meant.find(secret)
            while at >= 0:
                end = at + len(secret)
                written[at:end] = [MASK, *[""] * (len(secret) - 1)]
                meant = meant[:at] + "\0" * len(secret) + meant[end:]
                at = meant.find(secret, end)
        return "".join(written)


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
        data = text.encode("utf-8", "surrogatepass")
        yield from (text, quote(data, safe=""), quote_plus(data), json.dumps(text)[1:-1], repr(text)[1:-1])
        encoded = [base64.b64encode(data).decode().rstrip("="), base64.b64encode(data + b":").decode().rstrip("=")]
        if len(text) >= MIN_WORD_CHARS:
            encoded += _within_base64(data)
        for one in encoded:
            yield from (one, one.translate(_FOR_URLS))


def _within_base64(secret: bytes) -> Iterator[str]:
    """What Base64 makes of it behind other bytes (`user:SECRET`), less the characters that it shares with those."""
    for n_before, n_shared in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(n_before) + secret)
        yield encoded[n_shared : (n_before + len(secret)) * 8 // 6].decode()


def _meant(written: str) -> str:
    """The one character that an escape stands for."""
    if len(written) == 1:
        return written
    if written[0] == "&":
        return html.unescape(written)[:1] or "\0"
    digits = written.lstrip("%\\ux")
    return chr(int(digits, 16)) if len(written) > 2 else written[1]


def _n_begun(text: str, secret: str) -> int:
    """How many first characters of the secret the text ends with, 0 for too few to tell."""
    begin, longest = secret[:MIN_CUT_CHARS], len(secret) - 1
    at = text.find(begin, max(0, len(text) - longest))
    while at >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at = text.find(begin, at + 1)
    return 0
