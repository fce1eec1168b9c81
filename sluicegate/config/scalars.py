"""Reading flags, counts, sizes and durations of a table by its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sluicegate.config.keys import Key, Kind, Table, number_text
from sluicegate.config.problems import KeyPath, Problems, Wrong
from sluicegate.config.units import parse_duration_s, parse_rate_per_s, parse_size_bytes


def read_scalars(raw: Mapping[str, Any], table: Table, path: KeyPath, problems: Problems) -> dict[str, Any]:
    """Field name to value for the keys that are given and right; the others become problems."""
    values: dict[str, Any] = {}
    for key in table.keys:
        if key.kind is Kind.SPECIAL or key.name not in raw:
            continue
        try:
            values[key.field or key.name] = parse_scalar(key, raw[key.name])
        except Wrong as wrong:
            problems.add_wrong((*path, key.name), wrong)
    return values


def parse_scalar(key: Key, value: object) -> Any:
    """The value of one key; raises `Wrong`. Numbers and flags may be texts, because variables are."""
    if key.kind is Kind.FLAG:
        return _flag(value)
    try:
        number = _PARSERS[key.kind](value)
    except ValueError as error:
        reason, _, suggestion = str(error).partition("; ")
        raise Wrong(reason, suggestion) from error
    if not key.low <= number <= key.high:
        low, high = number_text(key, key.low), number_text(key, key.high)
        raise Wrong(f"out of range: {key.why}", f"write a value from {low} to {high}")
    return number


def read_table(raw: Mapping[str, Any], name: str, problems: Problems) -> Mapping[str, Any]:
    """The table of this name, empty when it is missing or something else stands there."""
    table = raw.get(name, {})
    if isinstance(table, Mapping):
        return table
    problems.add((name,), "must be a table", f"write [{name}] on a line of its own")
    return {}


def texts(value: object) -> tuple[str, ...]:
    """A non-empty list of texts, each once; raises `Wrong`."""
    if isinstance(value, str):
        raise Wrong("must be a list", f'write ["{value}"]' if value.isidentifier() else 'write ["..."]')
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong("must be a list of texts", 'write ["..."]')
    if not value:
        raise Wrong("must not be empty", 'write ["..."], or leave it out')
    return tuple(dict.fromkeys(value))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise Wrong("must be true or false", "write true or false without quotes")


def _count(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number; write it without quotes, such as 10")
    return value


_PARSERS = {
    Kind.COUNT: _count,
    Kind.SIZE: parse_size_bytes,
    Kind.DURATION: parse_duration_s,
    Kind.RATE: parse_rate_per_s,
}
