"""Numbers that fit: every integer in 64 bits, every other number in a double.

JSON has no bounds (RFC 8259, 6), those who read it have: `1e400` becomes infinity or an error, and an integer beyond 64
bits an error, an inexact number or something else in the next language. Such an event is refused at the door.
"""

from __future__ import annotations

import json
import math

import simdjson

LOWEST, HIGHEST = -(2**63), 2**64 - 1
MAX_DIGITS = 20
"""Of an integer in 64 bits, with its sign."""

# The only parser that looks at numbers faster than a search for digits is: 0.3 us for an event of 500 bytes.
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
