"""Pauses and their ends as they are stored, and those that could not be: these hold only until the next restart."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sluicegate.loading.effects import Effect, PersistPause
from sluicegate.loading.pauses import in_words

log = logging.getLogger(__name__)


class KeptPauses:
    """`remember` stores that a destination is paused and why, or with None that it is not, or raises."""

    def __init__(self, remember: Callable[[str, str | None], object]) -> None:
        self._remember = remember
        self._unkept: dict[str, str | None] = {}

    def keep(self, id: str, reason: str | None) -> None:
        """Store a pause or its end; what could not be stored is noted, for whoever asked for it."""
        text = in_words(reason) if reason is not None else "resumed"
        log.info("%s: %s", id, text)
        try:
            self._remember(id, reason)
        except Exception:
            log.exception("%s: cannot store that it is %s; that holds only until the next restart", id, text)
            self._unkept[id] = reason
        else:
            self._unkept.pop(id, None)

    def lacks(self, id: str) -> bool:
        """Whether what holds for this destination could not be stored."""
        return id in self._unkept

    def owed(self, id: str) -> list[Effect]:
        """The end of a pause that is still to be stored: the table knows it as ended, and would not ask again."""
        return [PersistPause(id, None)] if self._unkept.get(id, "") is None else []

    def refusal(self, id: str) -> str:
        """What to tell whoever asked for a pause or its end that a restart would undo; empty when none would."""
        if id not in self._unkept:
            return ""
        what = "resumed" if self._unkept[id] is None else "paused"
        return f"{id} is {what} only until the next restart, because that could not be stored; try again"
