"""The time of an event: reading what clients write, and correcting a clock that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MINUTE = timedelta(minutes=1)

MAX_SKEW_MS = 60_000
"""A client's clock within a minute is taken as right: part of the difference is the way of the request."""

MAX_AHEAD_MS = 86_400_000
"""No event is from more than a day after it arrived; local time written as UTC is at most 14 hours ahead."""

FEW_MOMENTS = 16
"""Fewer cost less one by one."""

MICROSECOND_CHARS = len("2026-01-31T08:00:00.000000Z")
"""A longer text may have a fraction that is finer."""

Aware = Annotated[datetime, msgspec.Meta(tz=True)]


class EventTime(NamedTuple):
    """When an event happened, in Unix milliseconds, and whether its `timestamp` says something else or nothing."""

    ms: int
    rewrite: bool


class Clock(NamedTuple):
    """When a request was received and when its client says that it was sent, both in Unix milliseconds."""

    received_ms: int
    sent_ms: int | None = None

    @property
    def offset_ms(self) -> int:
        """What has to be added to the client's times; zero when it did not say when it sent."""
        return 0 if self.sent_ms is None else self.received_ms - self.sent_ms

    @property
    def wrong(self) -> bool:
        """Whether the client's clock is off by more than a request takes."""
        return abs(self.offset_ms) > MAX_SKEW_MS

    @property
    def latest_ms(self) -> int:
        """The latest time that an event of this request can have."""
        return self.received_ms + MAX_AHEAD_MS

    def clamp(self, ms: int) -> int:
        """The nearest time that an event of this request can have."""
        return min(max(ms, 0), self.latest_ms)

    def correct(self, timestamp: object, original: object) -> EventTime:
        """The time of an event from its `timestamp` and `originalTimestamp` as decoded (None when absent)."""
        given = read_ms(timestamp)
        if given is not None:
            ms = self.clamp(given + self.offset_ms if self.wrong else given)
            return EventTime(ms, ms != given)
        base = read_ms(original)
        ms = self.received_ms if base is None else self.clamp(base + self.offset_ms)
        return EventTime(ms, True)


def read_ms(value: object) -> int | None:
    """Unix milliseconds of an ISO 8601 text, in UTC if it names no offset; None for anything else."""
    moment = _moment(value) if isinstance(value, str) else None
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MILLISECOND


def _moment(text: str) -> datetime | None:
    """The decoder of `StrictHead` takes some spellings of RFC 3339 that the standard library doesn't, and the other way
    round. The former rounds what is finer than a microsecond, so that it comes first there: one time is one number.
    """
    is_fine = len(text) > MICROSECOND_CHARS
    try:
        return _decoded(text) if is_fine else datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text) if is_fine else _decoded(text)
        except ValueError:
            return None


def _decoded(text: str) -> datetime:
    return msgspec.convert(text, Aware)


def milliseconds(moments: Sequence[datetime]) -> list[int]:
    """Unix milliseconds of moments; half the work when all are of one minute, as those of a request mostly are."""
    if len(moments) < FEW_MOMENTS:
        return [(moment - EPOCH) // MILLISECOND for moment in moments]
    minute = min(moments).replace(second=0, microsecond=0)
    if max(moments) - minute >= MINUTE:
        return [(moment - EPOCH) // MILLISECOND for moment in moments]
    # Offsets from UTC are whole minutes (RFC 3339), so that they don't touch the fields below.
    start_ms = (minute - EPOCH) // MILLISECOND
    return [start_ms + moment.second * 1_000 + moment.microsecond // 1_000 for moment in moments]


def write_ms(ms: int) -> str:
    """Unix milliseconds as clients write times: `2026-01-31T08:00:00.000Z`."""
    seconds, rest = divmod(ms, 1_000)
    return f"{_write_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)
def _write_second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
