"""Destinations whose stores cannot be used for a while: told once, left alone, and no trouble for the others."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

from sluicegate.errors import LogError

log = logging.getLogger(__name__)

STORE_AGAIN_S = 10.0
"""A store that could not be used is left alone for so long: a try may wait seconds for a lock, and all wait along."""


class Spoilt:
    """The destinations whose stores could not be read: no one of them may keep the others from being minded."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def due(self, names: Iterable[str]) -> list[str]:
        """Those whose stores may be opened now."""
        now = time.monotonic()
        return [name for name in names if self._again_at.get(name, now) <= now]

    @contextlib.contextmanager
    def minding(self, name: str) -> Iterator[None]:
        """Around what is done with one store: its failure goes no further, and is told once while it stays the same."""
        try:
            yield
        except LogError as error:
            self._again_at[name] = time.monotonic() + STORE_AGAIN_S
            if self._told.get(name) != str(error):
                self._told[name] = str(error)
                log.warning("the store of %s cannot be used, other destinations go on: %s", name, error)
        else:
            self._again_at.pop(name, None)
            if self._told.pop(name, None) is not None:
                log.info("the store of %s can be used again", name)
