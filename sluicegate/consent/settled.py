"""What subjects told last and the ledger knows, in the form in which many can be asked for at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import inf
from operator import is_

from sluicegate.consent.subject import Ids

_NO_USER = object()


class SettledOnes:
    """What each visitor told, with the user that came with it: a `token`, which is known by its identity."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._user_of: dict[str | None, str | None] = {}
        self._token_of: dict[str | None, object] = {}
        self._until_ms: float = inf

    def note(
        self,
        user_ids: Sequence[str | None],
        anonymous_ids: Sequence[str | None],
        tokens: Sequence[object],
        *,
        until_ms: int,
    ) -> None:
        """These subjects, given as columns, told this; until then (Unix ms) it need not be looked at again."""
        self._user_of.update(zip(anonymous_ids, user_ids, strict=True))
        self._token_of.update(zip(anonymous_ids, tokens, strict=True))
        self._until_ms = min(self._until_ms, until_ms)

    def discard(self, subject: Ids) -> None:
        """What this subject told has to be looked at."""
        user_id, anonymous_id = subject
        if self._user_of.get(anonymous_id, _NO_USER) == user_id:
            del self._user_of[anonymous_id]

    def cover(
        self,
        user_ids: Sequence[str | None],
        anonymous_ids: Sequence[str | None],
        tokens: Sequence[object],
        *,
        now_ms: int,
    ) -> bool:
        """Whether all of these subjects told this and nothing else last."""
        if now_ms > self._until_ms:
            self._clear()
        if list(map(self._user_of.get, anonymous_ids, repeat(_NO_USER))) != list(user_ids):
            return False
        return all(map(is_, map(self._token_of.get, anonymous_ids), tokens))
