"""The changes that `[destinations.ID.map]` makes to an event, in this order:

identifiers   userId and anonymousId from other places
rename        members get other names or places
drop          members are removed
hash          texts become their SHA-256
add           members with a fixed value
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import translate
from hashlib import sha256
from re import Pattern, compile
from typing import Any

from sluicegate.mapping.model import MapConfig
from sluicegate.mapping.places import holders, parse_place, read, write


class Changes:
    """A compiled `MapConfig`; its places must have been checked."""

    def __init__(self, config: MapConfig) -> None:
        self._only = _patterns(config.only)
        self._skip = _patterns(config.skip)
        self._identifiers = [
            (name, parse_place(text))
            for name, text in (("userId", config.user_id), ("anonymousId", config.anonymous_id))
            if text
        ]
        self._rename = [(parse_place(old), parse_place(new)) for old, new in config.rename.items()]
        self._drop = list(map(parse_place, config.drop))
        self._hash = list(map(parse_place, config.hash))
        self._add = [(parse_place(text), value) for text, value in config.add.items()]

    def wants(self, event: dict[str, Any]) -> bool:
        """Whether the event's name is one that goes out; the name is `event` of a track call, else `name`, else ``."""
        if self._only is None and self._skip is None:
            return True
        name = event.get("event") if event.get("type") == "track" else event.get("name")
        name = name if isinstance(name, str) else ""
        return (self._only is None or _matches(self._only, name)) and not (self._skip and _matches(self._skip, name))

    def apply(self, event: dict[str, Any]) -> None:
        """Change the event in place."""
        for name, place in self._identifiers:
            if text := _text(read(event, place)):
                event[name] = text
        for old, new in self._rename:
            for holder, name in holders(event, old):
                write(event, new, holder.pop(name))
        for place in self._drop:
            for holder, name in holders(event, place):
                del holder[name]
        for place in self._hash:
            for holder, name in holders(event, place):
                holder[name] = hashed(holder[name])
        for place, value in self._add:
            write(event, place, value)


def hashed(value: Any) -> Any:
    """SHA-256 in lower-case hex of a text without spaces around it, in lower case; lists by element; the rest stays.

    A text that is such a hash already stays too. Vendors match people by this form
    (developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters).
    """
    if isinstance(value, list):
        return [hashed(one) for one in value]
    text = _text(value)
    if text is None:
        return value
    text = text.strip().lower()
    return text if not text or _HASH.fullmatch(text) else sha256(text.encode("utf-8", "replace")).hexdigest()


def _text(value: Any) -> str | None:
    """A text, or a whole number as text; 42.0, as some languages write every number, is 42."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


_OTHER_WILDCARDS = compile(r"[?\[]")
_HASH = compile(r"[0-9a-f]{64}")


def _patterns(names: tuple[str, ...]) -> list[Callable[[str], object]] | None:
    # Of what `fnmatch` knows only `*` is told to users: a name with brackets or a question mark means these.
    plain = [_OTHER_WILDCARDS.sub(r"[\g<0>]", name.casefold()) for name in names]
    patterns: list[Pattern[str]] = [compile(translate(name)) for name in plain]
    return [pattern.match for pattern in patterns] or None


def _matches(patterns: list[Callable[[str], object]], name: str) -> bool:
    folded = name.casefold()
    return any(match(folded) for match in patterns)
