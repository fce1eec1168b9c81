"""A setting that never shows itself."""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b

_key = secrets.token_bytes(16)


def key_fingerprints(key: bytes) -> None:
    """Make fingerprints with this key, so that a restart does not change them.

    They are keyed because a hash alone would let guesses at a short secret be tried by whoever reads it.
    """
    global _key
    _key = key


def keyed_digest(data: bytes) -> str:
    """A hash of data with secrets in it, with the same key: tells whether two are equal, and nothing else."""
    return blake2b(data, key=_key, digest_size=16).hexdigest()


class Secret:
    """A secret text whose `repr` and `str` show a keyed fingerprint only; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return f"***{hmac.digest(_key, self._text.encode(), 'sha256').hex()[:6]}"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(other._text.encode(), self._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)
