"""The cookie of c15t: `c15t=c.necessary:1,c.measurement:1,i.t:1700000000000`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from sluicegate.config.model import BUILT_IN_PURPOSES
from sluicegate.consent.moment import read_moment_ms
from sluicegate.consent.requirement import NECESSARY

NAME = "c15t"
MAX_LENGTH = 4_096
"""Browsers keep no longer cookies (RFC 6265, 6.1)."""

_VALUES = {"1": True, "true": True, "0": False, "false": False}


class CookieConsent(NamedTuple):
    """What was decided, and when, in Unix milliseconds."""

    decided: Mapping[str, bool]
    at_ms: int


def read_cookie_header(header: str, *, aliases: Mapping[str, str]) -> CookieConsent | None:
    """The consent in a `Cookie` header; None without the cookie, or when it is there twice with different values."""
    found = set()
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == NAME:
            found.add(value)
    return read_cookie(found.pop(), aliases=aliases) if len(found) == 1 else None


def read_cookie(value: str, *, aliases: Mapping[str, str]) -> CookieConsent | None:
    """The consent in the cookie's value; None when nothing was decided.

    A purpose that is left out after a decision is denied: the cookie holds only what was granted. One whose value
    can't be read stays undecided.
    """
    if len(value) > MAX_LENGTH:
        return None
    told: dict[str, set[str]] = {}
    for part in unquote(value).strip('"').split(","):
        name, _, text = part.strip().partition(":")
        told.setdefault(name, set()).add(text)
    times = told.pop("i.t", set())
    at_ms = _time_ms(times.pop()) if len(times) == 1 else None
    if at_ms is None:
        return None
    votes: dict[str, list[bool | None]] = {}
    for name, texts in told.items():
        kind, _, category = name.partition(".")
        if kind == "c" and category:
            votes.setdefault(aliases.get(category, category), []).extend(_VALUES.get(text) for text in texts)
    decided: dict[str, bool] = {purpose: False for purpose in BUILT_IN_PURPOSES if purpose not in votes}
    for purpose, said in votes.items():
        if False in said:
            decided[purpose] = False
        elif None not in said:
            decided[purpose] = True
    decided.pop(NECESSARY, None)
    return CookieConsent(decided, at_ms)


def _time_ms(text: str) -> int | None:
    return read_moment_ms(int(text)) if text.isascii() and text.isdigit() and len(text) <= 15 else None
