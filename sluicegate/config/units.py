"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import re

DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
SIZE_UNITS_BYTES = {
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(rf"({_NUMBER})\s?([KMG]i?B|B)", re.IGNORECASE)

_RATE = re.compile(rf"({_NUMBER})\s?(?:/\s?([smh]))?")


def parse_duration_s(value: object) -> float:
    """Seconds from "5m", "300ms", "1h30m", or a plain number of seconds; raises `ValueError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError('not a duration; write one like "300ms", "30s", "5m", "1h30m", or a number of seconds')
    return sum(float(number) * DURATION_UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size_bytes(value: object) -> int:
    """Bytes from "500KiB", "1MB" or a plain number; raises `ValueError` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('not a size; write one like "32KiB", "1MB", or a whole number of bytes')
    return round(float(match[1]) * SIZE_UNITS_BYTES[match[2].lower()])


def parse_rate_per_s(value: object) -> float:
    """Events per second from "100/s", "600/m", "5000/h" or a plain number; raises `ValueError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('not a rate; write one like "100/s", "600/m", or a number of events per second')
    return float(match[1]) / DURATION_UNITS_S[match[2] or "s"]


def format_rate(per_s: float) -> str:
    """The shortest writing of a rate."""
    return f"{per_s:.12g}/s" if per_s >= 1 else f"{per_s * DURATION_UNITS_S['h']:.12g}/h"


def format_duration(seconds: float) -> str:
    """The shortest exact writing of a duration that has whole milliseconds."""
    for unit in ("d", "h", "m", "s"):
        amount = seconds / DURATION_UNITS_S[unit]
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{round(seconds * 1_000)}ms"


def format_size(n_bytes: int) -> str:
    """The shortest exact writing of a size in binary units."""
    for unit, suffix in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if n_bytes >= unit and n_bytes % unit == 0:
            return f"{n_bytes // unit}{suffix}"
    return f"{n_bytes}B"
