"""The subjects against whom there is nothing, in the form in which many can be asked for at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from sluicegate.consent.subject import Ids

_NO_USER = object()


class ClearOnes:
    """A set of subjects, as (user id, anonymous id)."""

    def __init__(self) -> None:
        self._pairs: set[Ids] = set()
        self._user_of: dict[str | None, str | None] = {}
        """Of each visitor the user of one of the pairs."""

    def update(self, subjects: Iterable[Ids]) -> None:
        """Take these in."""
        for user_id, anonymous_id in subjects:
            self._pairs.add((user_id, anonymous_id))
            self._user_of[anonymous_id] = user_id

    def discard(self, subject: Ids) -> None:
        """Leave this one out."""
        user_id, anonymous_id = subject
        self._pairs.discard((user_id, anonymous_id))
        if self._user_of.get(anonymous_id, _NO_USER) == user_id:
            del self._user_of[anonymous_id]

    def cover(self, user_ids: Sequence[str | None], anonymous_ids: Sequence[str | None]) -> bool:
        """Whether all of these subjects, given as columns, are in the set."""
        # Most visitors are one user: to look that up takes half the time of making, hashing and comparing pairs.
        # Columns of events that were picked from a row are tuples, which no list is equal to.
        if list(map(self._user_of.get, anonymous_ids, repeat(_NO_USER))) == list(user_ids):
            return True
        return self._pairs.issuperset(zip(user_ids, anonymous_ids, strict=True))
