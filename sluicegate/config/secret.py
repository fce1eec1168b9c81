"""A setting that never shows itself."""

from __future__ import annotations

import hashlib


class Secret:
    """A secret text whose `repr` and `str` show a fingerprint only; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        digest = hashlib.sha256(self._text.encode()).hexdigest()
        return f"***{digest[:6]}"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
