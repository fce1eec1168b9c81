"""The types of columns, which value has which, and what fits into a column that there is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import msgspec

from sluicegate.destinations.warehouse.dialect import Dialect

MIN_INT = -(2**63)
MAX_INT = 2**63 - 1
MAX_EXACT = 2**53
"""Integers up to this are exact as 64-bit floats (IEEE 754)."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(\.\d{1,15})?", re.ASCII)

Stored = str | int | float | bool


class Unfit(ValueError):
    """An event, or a value of it, that a table cannot hold; the text says which and why."""


class Kind(Enum):
    """The type of a column, the same words for all engines."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    JSON = "json"


def classify(value: object, dialect: Dialect) -> tuple[Kind, Stored]:
    """The type of a JSON value that is no object, and the value as a column of this type has it.

    Times are texts in ISO 8601, UTC, with milliseconds; lists are JSON texts; integers of more than 64 bits are texts.
    """
    if isinstance(value, str):
        time = read_time(value, dialect)
        return (Kind.STRING, as_text(value, dialect)) if time is None else (Kind.DATETIME, time)
    if isinstance(value, bool):
        return Kind.BOOLEAN, value
    if isinstance(value, int):
        return (Kind.INT, value) if MIN_INT <= value <= MAX_INT else (Kind.STRING, str(value))
    if isinstance(value, float):
        return Kind.FLOAT, value
    return Kind.STRING, as_json(value, dialect)


def read_time(text: str, dialect: Dialect) -> str | None:
    """A date, or a date and time, of ISO 8601 in normal form; None for other texts, and times out of range."""
    if not text[:4].isdigit() or not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.upper())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if not dialect.first_time <= time <= dialect.last_time:
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(value: str, dialect: Dialect) -> str:
    """A text without what the engine cannot hold."""
    return value if dialect.takes_nul or "\0" not in value else value.replace("\0", "")


def as_json(value: object, dialect: Dialect) -> str:
    """A value as JSON text, without escapes that the engine cannot read."""
    text = msgspec.json.encode(value).decode()
    if dialect.takes_nul or "\\u0000" not in text:
        return text
    return msgspec.json.encode(_without_nul(value)).decode()


def fitted(value: Stored, kind: Kind, column: Kind) -> Stored:
    """A value of one type for a column of another; raises `Unfit` unless nothing of it is lost.

    Every value fits a text. Numbers and truth values that are written as texts fit columns of these types.
    """
    if kind is column:
        return value
    if column in (Kind.STRING, Kind.JSON):
        plain = isinstance(value, str) and column is Kind.STRING
        return value if plain else msgspec.json.encode(value).decode()
    if isinstance(value, str) and kind is Kind.STRING:
        return _read(value, column)
    if column is Kind.FLOAT and kind is Kind.INT:
        return float(value)
    if column is Kind.INT and isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    raise Unfit(f"is of type {kind.value}, and the column of type {column.value}")


def widened(column: Kind, kind: Kind) -> Kind:
    """The type that a column gets when a value of another comes: whole numbers make room for fractions, no more."""
    return Kind.FLOAT if column is Kind.INT and kind is Kind.FLOAT else column


def _read(text: str, column: Kind) -> Stored:
    match = _NUMBER.fullmatch(text)
    if column is Kind.BOOLEAN and text in ("true", "false"):
        return text == "true"
    if column is Kind.FLOAT and match:
        return float(text)
    if column is Kind.INT and match and not match[1]:
        return int(text)
    raise Unfit(f"is a text, and the column of type {column.value}")


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {key.replace("\0", ""): _without_nul(item) for key, item in value.items()}
    return value
