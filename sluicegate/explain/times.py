"""Moments in words."""

from __future__ import annotations

from datetime import UTC, datetime


def time_text(unix_ms: int) -> str:
    """A moment in ISO 8601."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
