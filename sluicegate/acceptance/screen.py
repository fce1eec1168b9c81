"""What JSON may hold and no reader should have to: numbers that do not fit, and nesting without end.

JSON has no bounds for either (RFC 8259, 6 and 9), those who read it have: `1e400` becomes infinity or an error, and an
integer beyond 64 bits an error, an inexact number or something else in the next language.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left

import simdjson

LOWEST, HIGHEST = -(2**63), 2**64 - 1
MAX_DIGITS = 20
"""Of an integer in 64 bits, with its sign."""
SHORT_BYTES = 8_192
"""In longer text it costs more to count the braces, and there are too many of them."""

# No search for digits and exponents that Python has is nearly as fast as this parser: 0.3 us for an event of 500 bytes.
_PARSER = simdjson.Parser()


class _OutOfRange(ValueError):
    """A number that does not fit."""


def surely_fit(text: bytes) -> bool:
    """Whether every number in this JSON fits; False also when that is not clear, as in text that is no JSON.

    Not for several threads.
    """
    try:
        _PARSER.parse(text)
    except (ValueError, RuntimeError):
        return False
    return True


def surely_fits(text: bytes, *, max_depth: int) -> bool:
    """Whether every number fits, and nothing is nested more deeply than this; False also when that is not clear.

    The parser has a bound of its own for depth: text that is wrapped in enough lists meets it where we want it. It goes
    through those as through any text, so that they are left out where so few braces cannot be nested too deeply.
    """
    if len(text) <= SHORT_BYTES and text.count(b"{") + text.count(b"[") <= max_depth:
        return surely_fit(text)
    padding = max(0, _DEEPEST - max_depth)
    return surely_fit(b"".join((b"[" * padding, text, b"]" * padding)))


def fit(text: bytes) -> bool:
    """Whether every number fits; True for text that is no JSON, which others refuse. Slow."""
    try:
        _CHECKED.decode(text.decode())
    except _OutOfRange:
        return False
    except (ValueError, RecursionError):
        return True
    return True


def _checked_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS or not LOWEST <= int(digits) <= HIGHEST:
        raise _OutOfRange
    return 0


def _checked_float(digits: str) -> float:
    if math.isinf(float(digits)):
        raise _OutOfRange
    return 0.0


_CHECKED = json.JSONDecoder(parse_int=_checked_int, parse_float=_checked_float)

_DEEPEST = bisect_left(range(1 << 16), True, key=lambda depth: not surely_fit(b"[" * depth + b"[]" + b"]" * depth))
"""How deeply the parser goes, an empty list at the bottom included."""
