"""An event's envelope, and the layout in which batches of events are stored.

A row of the log has two msgpack values:

    meta    [1, combos, combo_of, message_ids, user_ids, anonymous_ids, times_ms]
    events  [bytes, ...]                      each the JSON object of one event

`combos` is a list of `[type, source, {purpose: granted}, [blocked destination, ...], allow_listed]`; `combo_of` is a
byte string with one index into it per event, which bounds a row to 256 combinations. The other columns are lists with
one entry per event; `times_ms` is the corrected event time in Unix milliseconds. Readers ignore further columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgpack

from sluicegate.errors import LogDamaged

MAX_COMBOS = 256
META_FORMAT = 1


class EventType(StrEnum):
    """The six calls of the Segment specification (segment.com/docs/connections/spec)."""

    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


class Combo(NamedTuple):
    """Everything about an event that routing and consent look at; equal events share one.

    `stamp` has the purposes the event's own consent decided, sorted: `(("marketing", False), ...)`; a purpose that is
    not in it is undecided. `integrations_off` names what the event's `integrations` forbids, sorted and written as
    `plain_name` does; with `all_off` everything is forbidden but what `integrations_on` names.
    """

    type: str
    source: str
    stamp: tuple[tuple[str, bool], ...] = ()
    integrations_off: tuple[str, ...] = ()
    integrations_on: tuple[str, ...] = ()
    all_off: bool = False


@dataclass(slots=True)
class EventBatch:
    """Accepted events as columns of equal length, in order of arrival."""

    combos: list[Combo] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    user_ids: list[str | None] = field(default_factory=list)
    anonymous_ids: list[str | None] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    n_bytes: int = 0

    def __len__(self) -> int:
        return len(self.events)

    def extend(self, other: EventBatch) -> None:
        """Append the events of another batch."""
        self.combos += other.combos
        self.message_ids += other.message_ids
        self.user_ids += other.user_ids
        self.anonymous_ids += other.anonymous_ids
        self.times_ms += other.times_ms
        self.events += other.events
        self.n_bytes += other.n_bytes


class Meta(NamedTuple):
    """The decoded meta of one row: `combo_of[i]` indexes `combos` for event i."""

    combos: tuple[Combo, ...]
    combo_of: bytes
    message_ids: list[str]
    user_ids: list[str | None]
    anonymous_ids: list[str | None]
    times_ms: list[int]

    def subject(self, index: int) -> str:
        """What per-subject order is kept by: the anonymous id, else the user id, else the event alone."""
        return self.anonymous_ids[index] or self.user_ids[index] or self.message_ids[index]


def encode_batch(batch: EventBatch) -> tuple[bytes, bytes]:
    """A batch as the two stored values (meta, events); it must not have more than 256 distinct combinations."""
    index: dict[Combo, int] = {}
    combo_of = bytes([index.setdefault(combo, len(index)) for combo in batch.combos])
    meta = [
        META_FORMAT,
        list(index),
        combo_of,
        batch.message_ids,
        batch.user_ids,
        batch.anonymous_ids,
        batch.times_ms,
    ]
    return msgpack.packb(meta), msgpack.packb(batch.events)


def decode_meta(data: bytes) -> Meta:
    """The meta of a row; raises `LogDamaged` for what is not one."""
    try:
        columns = msgpack.unpackb(data, use_list=True)
        if columns[0] != META_FORMAT:
            raise LogDamaged(
                f"the log holds events in format {columns[0]}, newer than this version reads; upgrade Sluicegate"
            )
        combos = tuple(_combo(row) for row in columns[1])
        return Meta(combos, *columns[2:7])
    except LogDamaged:
        raise
    except Exception as error:
        raise LogDamaged(f"a row of the event log cannot be read: {error}") from error


def decode_events(data: bytes) -> list[bytes]:
    """The event bytes of a row; raises `LogDamaged` for what is not one."""
    try:
        events: list[bytes] = msgpack.unpackb(data, use_list=True)
    except Exception as error:
        raise LogDamaged(f"a row of the event log cannot be read: {error}") from error
    return events


def _combo(row: list[object]) -> Combo:
    kind, source, stamp, off, on, all_off = row[:6]
    return Combo(
        str(kind),
        str(source),
        tuple((str(p), bool(v)) for p, v in stamp),  # type: ignore[attr-defined]
        tuple(off),  # type: ignore[arg-type]
        tuple(on),  # type: ignore[arg-type]
        bool(all_off),
    )


def stamp_of(decided: Mapping[str, bool]) -> tuple[tuple[str, bool], ...]:
    """A mapping of decided purposes in the order that makes equal stamps equal tuples."""
    return tuple(sorted(decided.items()))


def plain_name(name: str) -> str:
    """A destination's name in the spelling that is compared: "Google Analytics 4" and "google_analytics-4" are one."""
    return "".join(filter(str.isalnum, name.casefold()))


def names_of(names: Iterable[str]) -> tuple[str, ...]:
    """Destination names in their plain spelling, once each, sorted."""
    return tuple(sorted({plain_name(name) for name in names}))
