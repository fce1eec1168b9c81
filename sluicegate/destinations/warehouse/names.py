"""From names that people give to names of tables and columns: ASCII letters, digits and underscores, in lower case.

Different names may become one ("Zażółć" and "Zaśółć" are both `za`), so every event has an `identity` that tells it
apart from others, and a name made longer by its hash for when the first is taken.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

from sluicegate.destinations.warehouse.dialect import Dialect

OWN_TABLES = ("tracks", "identifies", "users", "pages", "screens", "groups", "aliases", "accounts")
"""Tables that the schema fills itself; an event of such a name has its table under another."""

_WORD = re.compile(
    r"[A-Z]?[a-z]+[0-9]+|[A-Z]+[0-9]+|[0-9]+[A-Z]?[a-z]+|[0-9]+[A-Z]+"
    r"|[A-Z]?[a-z]+(?=[^a-z0-9]|$)|[A-Z]+(?=[A-Z][a-z]|[^A-Za-z0-9]|$)|[A-Z]?[a-z]+|[A-Z]+|[0-9]+"
)
_BETWEEN_WORDS = re.compile(r"[\s_\-./:]+|(?<=[a-z0-9])(?=[A-Z])")
_HASH_DIGITS = 8
_MAX_IDENTITY = 150
_CACHED = 16_384
_MAX_READ = 500
"""Characters of a path that a column's name is made of, whose end is cut anyway; nor is a longer event kept in mind."""


def snake_case(name: str) -> str:
    """The ASCII words of a name with an underscore between each two: "Order2 CompletedNow" is "order2_completed_now".

    Everything else is left out; a name that begins with a digit gets an underscore. Empty when there is no word.
    """
    key = "_".join(_WORD.findall(name)).lower()
    return f"_{key}" if key[:1].isdigit() else key


def column_name(path: str, dialect: Dialect) -> str:
    """The column for the value at a path of keys joined by underscores; a hash of it when no ASCII is left."""
    return _column_name(path[:_MAX_READ], dialect)


def event_name(event: str) -> str:
    """What the column `event` says: the table's name before it is cut or escaped; empty for an event without one."""
    return _event_name(event) if len(event) <= _MAX_READ else _event_name.__wrapped__(event)


def event_table(event: str, dialect: Dialect) -> str:
    """The table of an event that has a name."""
    return _event_table(event_name(event)[:_MAX_READ], dialect)


@lru_cache(_CACHED)
def own_table(name: str, dialect: Dialect) -> str:
    """One of `OWN_TABLES` as the engine has it."""
    return _escaped(name, dialect)


def identity(event: str) -> str:
    """What makes an event's name different from another's: everything but case, and how its words are set apart."""
    found = " ".join(word for word in _BETWEEN_WORDS.split(event) if word).casefold().replace("\0", "")
    return found if len(found) <= _MAX_IDENTITY else f"{found[:_MAX_IDENTITY]} {_digest(found)}"


def suffixed(name: str, of: str, dialect: Dialect) -> str:
    """A name for when this one is taken: with eight digits of the hash of what it stands for."""
    return f"{name[: dialect.max_name - _HASH_DIGITS - 1]}_{_digest(of)}"


@lru_cache(_CACHED)
def _column_name(path: str, dialect: Dialect) -> str:
    return _escaped(snake_case(path) or _hashed(path), dialect)


@lru_cache(_CACHED)
def _event_name(event: str) -> str:
    return snake_case(event) or (_hashed(event) if event.strip() else "")


@lru_cache(_CACHED)
def _event_table(name: str, dialect: Dialect) -> str:
    table = _escaped(name, dialect)
    taken = {own_table(own, dialect) for own in OWN_TABLES} | set(OWN_TABLES)
    while table in taken:
        table = f"_{table}"
    return table


def _escaped(name: str, dialect: Dialect) -> str:
    if name in dialect.reserved:
        name = f"_{name}"
    while name.startswith(dialect.forbidden_prefixes):
        name = f"_{name}"
    return name[: dialect.max_name]


def _hashed(text: str) -> str:
    return f"_{_digest(text)}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
