"""Moments in words."""

from __future__ import annotations

from datetime import UTC, datetime


def time_text(unix_ms: int) -> str:
    """A moment in ISO 8601; as its number where no calendar has it, such as in a damaged row."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms since 1970"
