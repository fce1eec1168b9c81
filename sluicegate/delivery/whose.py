"""Which events are of some subjects, by the keys that the ledger knows them by."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from sluicegate.consent.subject import SubjectKeys
from sluicegate.event import EventType, Meta

MAX_REMEMBERED = 100_000
"""Ids whose answer is remembered: hashing one takes a microsecond."""


class Whose:
    """Finds events by user id, anonymous id, and the previous id of an alias; for one thread."""

    def __init__(self, keys: Collection[bytes], subject_keys: SubjectKeys) -> None:
        self._keys = frozenset(keys)
        self._subject_keys = subject_keys
        self._users: dict[str, bool] = {}
        self._visitors: dict[str, bool] = {}
        self.found: set[str] = set()
        """The ids that turned out to be theirs, as they were written."""

    def user(self, id_: str | None) -> bool:
        """Whether this is the user id of one of them."""
        return self._is_one(id_, self._users, self._subject_keys.user)

    def visitor(self, id_: str | None) -> bool:
        """Whether this is the anonymous id of one of them."""
        return self._is_one(id_, self._visitors, self._subject_keys.anonymous)

    def either(self, id_: str | None) -> bool:
        """Whether this is either."""
        return self.user(id_) or self.visitor(id_)

    def places(self, meta: Meta, events: Callable[[], list[bytes]]) -> list[int]:
        """The places of their events in a row; `events` reads the row's events, and is seldom called."""
        columns = zip(meta.user_ids, meta.anonymous_ids, strict=True)
        found = {place for place, (user, visitor) in enumerate(columns) if self.user(user) or self.visitor(visitor)}
        aliases = {code for code, combo in enumerate(meta.combos) if combo.type == EventType.ALIAS}
        if aliases:
            raws = events()
            places = (place for place, code in enumerate(meta.combo_of) if code in aliases)
            found.update(place for place in places if self.either(text_id(envelope(raws[place]).get("previousId"))))
        return sorted(found)

    def event(self, raw: bytes) -> bool:
        """Whether an event is of one of them."""
        members = envelope(raw)
        if self.user(text_id(members.get("userId"))) or self.visitor(text_id(members.get("anonymousId"))):
            return True
        return members.get("type") == EventType.ALIAS and self.either(text_id(members.get("previousId")))

    def _is_one(self, id_: str | None, known: dict[str, bool], key_of: Callable[[str], bytes]) -> bool:
        if not id_:
            return False
        answer = known.get(id_)
        if answer is None:
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            answer = known[id_] = key_of(id_) in self._keys
            if answer:
                self.found.add(id_)
        return answer


def envelope(raw: bytes) -> dict[str, Any]:
    """The members of an event, none for what is no object."""
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def text_id(value: object) -> str | None:
    """An id as the log has it."""
    return str(value) if type(value) in (str, int) and value != "" else None
