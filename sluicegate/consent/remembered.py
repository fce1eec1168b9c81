"""A bounded memory of what was looked up, by the ids that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from sluicegate.consent.subject import Subject

V = TypeVar("V")


class Remembered(Generic[V]):
    """Remembers between `max_subjects` and twice as many, those that were asked for last.

    Two generations in place of a list in order of use: reading is one or two look-ups and no bookkeeping. A full
    generation becomes the old one, and what is not asked for meanwhile goes with it.
    """

    def __init__(self, max_subjects: int) -> None:
        self._max = max_subjects
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[Subject, V] = {}
        self._old: dict[Subject, V] = {}
        self._young_users: dict[bytes, set[Subject]] = {}
        self._old_users: dict[bytes, set[Subject]] = {}

    def get(self, subject: Subject) -> V | None:
        """What is remembered of this subject."""
        return self._young.get(subject) or self._old.get(subject)

    def get_all(self, subjects: Sequence[Subject]) -> list[V | None]:
        """The same of each of these subjects."""
        found = list(map(self._young.get, subjects))
        if self._old and None in found:
            old = self._old.get
            return [old(subject) if one is None else one for one, subject in zip(found, subjects, strict=True)]
        return found

    def put(self, subject: Subject, value: V, keys: Iterable[bytes]) -> None:
        """Remember a value that was worked out from the records with these keys."""
        if len(self._young) >= self._max:
            self._old, self._young = self._young, {}
            self._old_users, self._young_users = self._young_users, {}
        self._young[subject] = value
        for key in keys:
            self._young_users.setdefault(key, set()).add(subject)

    def forget(self, key: bytes) -> None:
        """Forget what was worked out from the record with this key."""
        for values, users in ((self._young, self._young_users), (self._old, self._old_users)):
            for subject in users.pop(key, ()):
                values.pop(subject, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
