"""Times as consent tools write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LEAST_MS = 100_000_000_000
"""A smaller number counts seconds: as milliseconds it would be before March 1973."""
_MOST_MS = 1 << 46


def read_moment_ms(value: object) -> int | None:
    """Unix milliseconds of an ISO 8601 text or a number of (milli)seconds since 1970; None for anything else."""
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < _MOST_MS:
        return None
    return int(value) if value >= _LEAST_MS else int(value * 1_000)


def _read_text(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        ms = (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None
    return ms if 0 < ms < _MOST_MS else None
