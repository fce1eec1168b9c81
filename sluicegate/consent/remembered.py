"""A bounded memory of what was looked up, by the ids that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from sluicegate.consent.clear import ClearOnes
from sluicegate.consent.settled import SettledOnes
from sluicegate.consent.subject import Ids

V = TypeVar("V")


class Remembered(Generic[V]):
    """Remembers between `max_subjects` and twice as many, those that were asked for last; fewer of larger ones.

    Two generations in place of a list in order of use: reading is one or two look-ups and no bookkeeping. A full
    generation becomes the old one, and what is not asked for meanwhile goes with it.
    """

    def __init__(self, max_subjects: int) -> None:
        self._max = max_subjects
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[Ids, V] = {}
        self._size = 0
        self._old: dict[Ids, V] = {}
        self._young_users: dict[bytes, Ids | set[Ids]] = {}
        self._old_users: dict[bytes, Ids | set[Ids]] = {}
        self._forget_notes()

    def _forget_notes(self) -> None:
        self.clear_ones = ClearOnes()
        """Those of the remembered that their user has put here; who is forgotten is not here any more."""
        self.settled_ones = SettledOnes()
        """The same."""

    def get_all(self, subjects: Sequence[Ids]) -> list[V | None]:
        """What is remembered of each of these subjects."""
        found = list(map(self._young.get, subjects))
        if self._old and None in found:
            old = self._old.get
            return [old(subject) if one is None else one for one, subject in zip(found, subjects, strict=True)]
        return found

    def put(self, subject: Ids, value: V, keys: Iterable[bytes], *, size: int = 1) -> None:
        """Remember a value that was worked out from the records with these keys; it counts as `size` of them."""
        self._size += size
        if self._size > self._max and self._young:
            self._size = size
            self._old, self._young = self._young, {}
            self._old_users, self._young_users = self._young_users, {}
            self._forget_notes()
        self._young[subject] = value
        users = self._young_users
        for key in keys:
            others = users.setdefault(key, subject)
            if isinstance(others, set):
                others.add(subject)
            elif others != subject:
                users[key] = {others, subject}

    def note_clear(self, subjects: Sequence[Ids]) -> None:
        """Put into `clear_ones` those of these subjects that are remembered: `forget` finds no others."""
        # The look-up that found them clear may have made room for its last ones by forgetting its first.
        found = zip(subjects, self.get_all(subjects), strict=True)
        self.clear_ones.update([subject for subject, value in found if value is not None])

    def forget(self, key: bytes) -> None:
        """Forget what was worked out from the record with this key."""
        for values, users in ((self._young, self._young_users), (self._old, self._old_users)):
            found = users.pop(key, None)
            if found is not None:
                for subject in found if isinstance(found, set) else (found,):
                    values.pop(subject, None)
                    self.clear_ones.discard(subject)
                    self.settled_ones.discard(subject)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
