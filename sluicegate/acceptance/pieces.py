"""The structure of text that may be no JSON: how deep it goes, and where the events of a batch begin and end.

For bodies that no decoder takes as a whole. Nobody has to send those, so what they cost is bounded: regular expressions
run over what lies between the brackets that matter, and who needs too many of these is not looked at to the end.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import accumulate

TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
"""A string as a whole; one that never ends is read once only."""
TOKEN = re.compile(TEXT + rb"|[\[\]{},:]", re.DOTALL)
"""Strings as a whole, and the characters that give JSON its structure."""

DEEPEST_BESIDE = 64
"""Where the search for events gives up, beside the events."""
MAX_PIECES = 30_000
"""So many steps the search takes, each less than 0.5 us; an event is two unless it is nested five deep or more."""

_BETWEEN = rb'(?:[^"\[\]{}]++|' + TEXT + rb")*+"
_OPENING, _CLOSING = b"{[", b"}]"
_COLON, _QUOTE, _LIST = b':"['
_TEXTS = re.compile(TEXT, re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""One level down, one up."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _whole(levels: int) -> bytes:
    """A list or an object that is nested so deep at most."""
    inner = b"" if levels == 1 else _whole(levels - 1)
    return rb"[\[{]" + (rb"(?:" + _BETWEEN + inner + rb")*+" + _BETWEEN if inner else _BETWEEN) + rb"[\]}]"


_WHOLE = _whole(4)
_ITEM = re.compile(rb'[^"\[\]{},]*+(?:' + TEXT + rb'[^"\[\]{},]*+)*+(' + _WHOLE + rb"|[\[\]{},])", re.DOTALL)
"""The next thing in a list: one as a whole, a bracket of a larger one, a comma, the end."""
_DEEP = re.compile(_BETWEEN + rb"(" + _WHOLE + rb"|\[++|\]++|[{}])", re.DOTALL)
"""The next thing where commas do not matter."""


def depth_exceeds(raw: bytes, limit: int) -> bool:
    """Whether JSON is nested more deeply than this, or text up to where it is none; counts before it looks."""
    if raw.count(b"{") + raw.count(b"[") <= limit:
        return False
    steps = _TEXTS.sub(b"", raw).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(array("b", steps)), default=0) > limit


def separators(body: bytes) -> Iterator[int]:
    """Where the list `batch` opens, has its commas, and closes; ends early for a body that does not close it."""
    place, depth, key, text, inside = 0, 0, b"", b"", False
    for _ in range(MAX_PIECES):
        outermost = 1 + inside
        if depth > outermost:
            token = _DEEP.match(body, place)
        else:
            token = _ITEM.match(body, place) if inside else TOKEN.search(body, place)
        if token is None:
            return
        start, place = token.span(token.lastindex or 0)
        character = body[start]
        if character in _OPENING:
            if body[place - 1] in _CLOSING:
                continue
            depth += place - start
            if depth > DEEPEST_BESIDE and not inside:
                return
            if depth == 2 and character == _LIST and key == b'"batch"':
                inside = True
                yield start
        elif character in _CLOSING:
            place = min(place, start + max(1, depth - outermost))
            depth -= place - start
            if inside and depth == 1:
                yield start
                return
        elif inside:
            yield start
        elif depth == 1 and character == _QUOTE:
            text = token[0]
        elif depth == 1:
            key = text if character == _COLON else b""
