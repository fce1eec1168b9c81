"""A body that is one JSON document and no batch of events: screened as events are, then read strictly.

What such a body asks for holds as a whole or not at all, so that whatever two readers could understand in two ways
refuses it: there is no event beside it to be saved.
"""

from __future__ import annotations

import codecs
import json
from typing import Any

import msgspec

from sluicegate.acceptance.pieces import depth_exceeds
from sluicegate.acceptance.screen import fit, surely_fit, surely_fits
from sluicegate.errors import BodyRefused

_ANY = msgspec.json.Decoder()


class _DuplicateKey(Exception):
    """An object has a key twice."""


def utf8_text(body: bytes) -> bytes:
    """The body without a byte order mark; raises `BodyRefused` when it is not UTF-8."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        body.decode()
    except UnicodeDecodeError:
        raise BodyRefused("not_utf8", "the body is not UTF-8; encode the JSON as UTF-8") from None
    return body


def check_depth(text: bytes, *, max_depth: int) -> None:
    """Refuse what is nested more deeply than this, before a parser without that bound sees it; raises `BodyRefused`."""
    if not surely_fits(text, max_depth=max_depth) and depth_exceeds(text, max_depth):
        raise BodyRefused("too_deep", f"the body is nested more than {max_depth} deep")


def read_object(body: bytes, *, max_depth: int) -> dict[str, Any]:
    """The members of a body that is a JSON object (RFC 8259), has no key twice and only numbers that fit.

    Raises `BodyRefused` for any other; half a surrogate pair is no JSON here. Not for several threads.
    """
    text = utf8_text(body)
    check_depth(text, max_depth=max_depth)
    if not surely_fit(text) and not fit(text):
        raise BodyRefused("number", "a number in the body fits neither 64 bits nor a double")
    try:
        value = _ANY.decode(text)
    except msgspec.DecodeError:
        raise not_json() from None
    if not isinstance(value, dict):
        raise BodyRefused("not_object", "the body is not a JSON object")
    try:
        _UNIQUE.decode(text.decode())
    except _DuplicateKey:
        raise BodyRefused("duplicate_key", "an object in the body has a key twice") from None
    return value


def not_json() -> BodyRefused:
    """What a body is told that is no JSON."""
    return BodyRefused("not_json", "the body is not valid JSON (NaN, Infinity and half surrogate pairs are not JSON)")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _DuplicateKey


_UNIQUE = json.JSONDecoder(object_pairs_hook=_unique)
