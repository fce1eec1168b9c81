"""An event's envelope, and the layout in which batches of events are stored.

A row of the log has two values:

    meta     msgpack [1, combos, combo_of, bounds, message_ids, user_ids, anonymous_ids, times_ms]
    payload  the JSON objects of all events with a comma between each two: the inside of a JSON array

`combos` is a list of `[type, source, [[purpose, granted], ...], integrations_off, integrations_on, all_off, place,
unasked]`, of which early rows lack the last two;
`combo_of` is a byte string with one index into it per event, which bounds a row to 256 combinations. `bounds` is a
byte string of count + 1 numbers (u32, little-endian): event i is `payload[bounds[i] : bounds[i + 1] - 1]`. The other
columns are lists with one entry per event; `times_ms` is the corrected event time in Unix milliseconds. Every list is
msgpack in a byte string of its own, because delivery seldom looks at them. Readers ignore further columns.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate, compress, pairwise
from typing import Any, NamedTuple

import msgpack
import msgspec

from sluicegate.errors import LogTooNew, RowDamaged

MAX_COMBOS = 256
META_FORMAT = 1
ERASED = "erased"
"""Stands where an event's type was, when the event was erased: an empty object keeps its place in the log."""

_pack = msgspec.msgpack.Encoder().encode  # the same bytes as those of msgpack, in half the time; reading is slower


class EventType(StrEnum):
    """The six calls of the Segment specification (segment.com/docs/connections/spec)."""

    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


CONSENT_TYPE = "consent"
"""The `type` in the combination of a notice that consent has changed, which only few destinations get."""


class Combo(NamedTuple):
    """Everything about an event that routing and consent look at; equal events share one.

    `stamp` has the purposes the event's own consent decided, sorted: `(("marketing", False), ...)`; a purpose that is
    not in it is undecided. `integrations_off` names what the event's `integrations` forbids, sorted and written as
    `plain_name` does; with `all_off` everything is forbidden but what `integrations_on` names. `place` is the
    jurisdiction of the event as the configuration lists it, empty when none was told. `unasked` is true of an event
    that has no member at all that tells consent, where the configuration lets such events go.
    """

    type: str
    source: str
    stamp: tuple[tuple[str, bool], ...] = ()
    integrations_off: tuple[str, ...] = ()
    integrations_on: tuple[str, ...] = ()
    all_off: bool = False
    place: str = ""
    unasked: bool = False


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

    def select(self, mask: Sequence[bool]) -> EventBatch:
        """A batch of the events that the mask says true of."""
        events = list(compress(self.events, mask))
        return EventBatch(
            combos=list(compress(self.combos, mask)),
            message_ids=list(compress(self.message_ids, mask)),
            user_ids=list(compress(self.user_ids, mask)),
            anonymous_ids=list(compress(self.anonymous_ids, mask)),
            times_ms=list(compress(self.times_ms, mask)),
            events=events,
            n_bytes=sum(map(len, events)),
        )


class About(NamedTuple):
    """What consent is decided by, as columns with one entry per event; `codes` index into `combos`."""

    user_ids: Sequence[str | None]
    anonymous_ids: Sequence[str | None]
    times_ms: Sequence[int]
    codes: bytes
    combos: tuple[Combo, ...]

    @property
    def whose(self) -> list[tuple[str | None, str | None]]:
        """The subject of each event: user id and anonymous id."""
        return list(zip(self.user_ids, self.anonymous_ids, strict=True))

    def pick(self, places: Sequence[int]) -> About:
        """The same of the events at these places."""
        users, visitors, times_ms, codes, combos = self
        return About(
            [users[i] for i in places],
            [visitors[i] for i in places],
            [times_ms[i] for i in places],
            bytes([codes[i] for i in places]),
            combos,
        )


class Meta:
    """The meta of one row: `combo_of[i]` indexes `combos` for event i, `bounds` is where events begin in the payload.

    The other columns are decoded when they are first asked for, and raise `RowDamaged` when they cannot be.
    """

    __slots__ = ("_columns", "_subjects", "bounds", "combo_of", "combos")

    def __init__(
        self, combos: tuple[Combo, ...], combo_of: bytes, bounds: array[int], columns: Sequence[bytes | list[Any]]
    ) -> None:
        self.combos = combos
        self.combo_of = combo_of
        self.bounds = bounds
        self._columns = list(columns)
        self._subjects: list[str] | None = None

    @property
    def message_ids(self) -> list[str]:
        """The vendors' deduplication keys."""
        return self._column(0)

    @property
    def user_ids(self) -> list[str | None]:
        """The known users, as far as the events name them."""
        return self._column(1)

    @property
    def anonymous_ids(self) -> list[str | None]:
        """The visitors, as far as the events name them."""
        return self._column(2)

    @property
    def times_ms(self) -> list[int]:
        """The corrected event times in Unix milliseconds."""
        return self._column(3)

    @property
    def subjects(self) -> list[str]:
        """What per-subject order is kept by: the anonymous id, else the user id, else the event alone."""
        if self._subjects is None:
            anonymous_ids = self.anonymous_ids
            if all(anonymous_ids):
                self._subjects = anonymous_ids  # type: ignore[assignment]
            else:
                columns = zip(anonymous_ids, self.user_ids, self.message_ids, strict=True)
                self._subjects = [anonymous or user or message for anonymous, user, message in columns]
        return self._subjects  # type: ignore[return-value]

    @property
    def about(self) -> About:
        """What consent is decided by."""
        return About(self.user_ids, self.anonymous_ids, self.times_ms, self.combo_of, self.combos)

    def _column(self, index: int) -> list[Any]:
        column = self._columns[index]
        if isinstance(column, bytes):
            try:
                column = self._columns[index] = msgpack.unpackb(column, use_list=True)
            except Exception as error:
                raise _damage(error) from error
        return column


def encode_batch(batch: EventBatch) -> tuple[bytes, bytes]:
    """A batch as the two stored values (meta, payload); it must not have more than 256 distinct combinations."""
    combos, combo_of = _distinct(batch.combos)
    columns = (batch.message_ids, batch.user_ids, batch.anonymous_ids, batch.times_ms)
    meta = [
        META_FORMAT,
        _pack(combos),
        combo_of,
        pack_bounds(bounds_of(batch.events)),
        *map(_pack, columns),
    ]
    return _pack(meta), b",".join(batch.events)


def decode_meta(data: bytes) -> Meta:
    """The meta of a row; raises `RowDamaged` for what is not one, `LogTooNew`."""
    try:
        version, *columns = msgpack.unpackb(data, use_list=True)
        if version != META_FORMAT:
            raise LogTooNew(
                f"the log holds events in format {version}, newer than this version reads; upgrade Sluicegate"
            )
        combos, combo_of, bounds = _combos(columns[0]), columns[1], _unpacked(columns[2])
        if len(bounds) != len(combo_of) + 1:
            raise ValueError("it has not as many bounds as events")
        return Meta(combos, combo_of, bounds, columns[3:7])
    except LogTooNew:
        raise
    except Exception as error:
        raise _damage(error) from error


def split_payload(payload: bytes, bounds: array[int]) -> list[bytes]:
    """The events of a payload; raises `RowDamaged` when the bounds are not its own."""
    check_payload(payload, bounds)
    return [payload[start : end - 1] for start, end in pairwise(bounds)]


def check_payload(payload: bytes, bounds: array[int]) -> None:
    """Raise `RowDamaged` when a payload has not the length that its bounds say."""
    if bounds[-1] != (len(payload) + 1 if len(bounds) > 1 else 0):
        raise _damage(f"its events have {len(payload)} bytes, which is not what its meta says")


def bounds_of(events: Iterable[bytes]) -> array[int]:
    """Where each event begins in the payload of them all, and where one more would begin."""
    return array("I", [0, *accumulate([len(event) + 1 for event in events])])  # lists: a third faster than iterators


def _distinct(combos: list[Combo]) -> tuple[list[Combo], bytes]:
    # Equal ones are mostly the same object, and identities hash faster than nested tuples.
    identities = list(map(id, combos))
    objects = dict(zip(identities, combos, strict=True))
    if len(objects) == 1:
        return combos[:1], bytes(len(combos))
    index: dict[Combo, int] = {}
    code_of = {identity: index.setdefault(combo, len(index)) for identity, combo in objects.items()}
    return list(index), bytes(map(code_of.__getitem__, identities))


def pack_bounds(bounds: array[int]) -> bytes:
    """Bounds as they are stored; changes what it is given on a machine with another order of bytes."""
    if sys.byteorder == "big":
        bounds.byteswap()
    return bounds.tobytes()


def _unpacked(data: bytes) -> array[int]:
    bounds = array("I", data)
    if sys.byteorder == "big":
        bounds.byteswap()
    return bounds


def _damage(reason: object) -> RowDamaged:
    return RowDamaged(f"a row of the event log cannot be read: {reason}")


@lru_cache(maxsize=64)
def _combos(packed: bytes) -> tuple[Combo, ...]:
    # Most rows have the combinations of the row before.
    return tuple(map(_combo, msgpack.unpackb(packed, use_list=True)))


def _combo(row: list[object]) -> Combo:
    kind, source, stamp, off, on, all_off = row[:6]
    place, unasked = row[6:8] if len(row) > 7 else ("", False)
    return Combo(
        str(kind),
        str(source),
        tuple((str(p), bool(v)) for p, v in stamp),  # type: ignore[attr-defined]
        tuple(off),  # type: ignore[arg-type]
        tuple(on),  # type: ignore[arg-type]
        bool(all_off),
        str(place),
        bool(unasked),
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
