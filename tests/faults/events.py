"""The event of an id: everything about it is computed from the id, so that whoever sees it can tell what it must be.

Ids read SEED.CONNECTION.REQUEST.INDEX. Nothing here is taken from the product: what may go where is worked out anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b, shake_256

CAP_BYTES = 32 * 1024
"""The gateway's default limit of an event."""
ID_MARK = b'"messageId":'
SOURCES = ("web", "app")
SUBJECTS_PER_CONNECTION = 2
UNDECIDED = "consent_undecided"

_FILLERS = (0, 1, 15, 16, 31, 32, 33, 127, 128, 255, 256, 257)
"""Lengths of the property, around the boundaries of msgpack's text lengths."""
_PAGES = (4_095, 4_096, 4_097, 8_191, 8_192, 8_193)
"""Lengths of the whole event, around SQLite's pages."""
_LARGE = (CAP_BYTES // 4, CAP_BYTES - 1, CAP_BYTES)
_CHOICES = (True, False, None)
_LETTERS = {True: "y", False: "n", None: "o"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a destination of the tests requires: all of these purposes, and one of these types (empty for all)."""

    all: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def verdict(self, id_: str) -> str | None:
        """None when the event of this id may go there, else the reason under which it is counted."""
        if self.types and kind_of(id_) not in self.types:
            return "event_type"
        said = [consent_of(id_).get(purpose) for purpose in self.all]
        if False in said:
            return "consent_denied"
        return UNDECIDED if None in said else None

    def undecided(self, id_: str) -> set[str]:
        """The purposes of which it says nothing, where that is why it may not go there; empty otherwise."""
        return set(self.all) - consent_of(id_).keys() if self.verdict(id_) == UNDECIDED else set()


def _draw(id_: str, what: str) -> int:
    return int.from_bytes(blake2b(f"{what}/{id_}".encode(), digest_size=4).digest(), "big")


def source_of(id_: str) -> str:
    """Who sends it: all events of a request come from one source."""
    return SOURCES[_draw(id_.rpartition(".")[0], "source") % len(SOURCES)]


def subject_of(id_: str) -> str:
    """Its anonymousId; a connection has subjects of its own, so that their events have an order.

    A subject always says the same about consent: what it said once is remembered of it.
    """
    connection = id_.split(".")[1]
    said = consent_of(id_)
    consent = "".join(_LETTERS[said.get(purpose)] for purpose in ("measurement", "marketing"))
    return f"c{connection}-{_draw(id_, 'subject') % SUBJECTS_PER_CONNECTION}-{consent}"


def kind_of(id_: str) -> str:
    """Its type."""
    return ("track", "track", "track", "page", "identify")[_draw(id_, "kind") % 5]


def consent_of(id_: str) -> dict[str, bool]:
    """What its stamp decides; half of all events grant everything."""
    if _draw(id_, "consent") % 2:
        return {"measurement": True, "marketing": True}
    said = {p: _CHOICES[_draw(id_, p) % 3] for p in ("measurement", "marketing")}
    return {purpose: value for purpose, value in said.items() if value is not None}


def is_bad(id_: str) -> bool:
    """Whether a receiver that is particular refuses it: one of a hundred."""
    return _draw(id_, "bad") % 100 == 0


@lru_cache(maxsize=100_000)
def event_of(id_: str) -> bytes:
    """Its JSON as it is sent."""
    size = _draw(id_, "size") % 100
    if size < 78:
        return _with_filler(id_, _FILLERS[size % len(_FILLERS)])
    whole = _PAGES[size % len(_PAGES)] if size < 94 else _LARGE[size % len(_LARGE)]
    return _with_filler(id_, whole - len(_with_filler(id_, 0)))


def fingerprint(event: bytes) -> str:
    """What a receiver writes down of an event's bytes."""
    return blake2b(event, digest_size=12).hexdigest()


def split_additions(stored: bytes) -> tuple[bytes, bytes]:
    """What the gateway has put in front of an event, as a JSON object, and the event as it was sent."""
    at = stored.find(ID_MARK)
    if at < 0:
        raise ValueError(f"not an event of ours: {stored[:100]!r}")
    return b"{" + stored[1:at].rstrip(b",") + b"}", b"{" + stored[at:]


def _with_filler(id_: str, length: int) -> bytes:
    kind = kind_of(id_)
    event: dict[str, object] = {"messageId": id_, "type": kind, "anonymousId": subject_of(id_)}
    if kind == "track":
        event["event"] = "Tested"
    if _draw(id_, "timestamp") % 4:
        event["timestamp"] = "2026-01-31T08:00:00.000Z"
    event["context"] = {"consent": {"categoryPreferences": consent_of(id_)}}
    event["properties" if kind != "identify" else "traits"] = {"filler": _filler(id_, length)}
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _filler(id_: str, length: int) -> str:
    return shake_256(id_.encode()).hexdigest((length + 1) // 2)[:length]
