"""What a key of the configuration file is: its row, the table that it is in, and its default as text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sluicegate.config.units import format_duration, format_rate, format_size

DAY_S = 86_400.0


class Kind(Enum):
    """How the value of a key is written."""

    FLAG = "true or false"
    COUNT = "whole number"
    SIZE = "size"
    DURATION = "duration"
    RATE = "rate"
    SPECIAL = "own form"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `field` of the model takes it; numbers lie in `low` to `high`, for the reason `why`."""

    name: str
    kind: Kind
    help: str
    field: str = ""
    low: float = 0
    high: float = 0
    why: str = ""
    sample: str = ""
    """What the template shows where the model has no default that TOML could write."""
    sample_is_default: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file and the model that it becomes."""

    name: str
    help: str
    keys: tuple[Key, ...]
    model: type[Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in the order of the rows."""
        return tuple(key.name for key in self.keys)


def default_of(table: Table, key: Key) -> Any:
    """The model's default for a key; None when it has none."""
    for field in dataclasses.fields(table.model) if table.model is not None else ():
        if field.name == (key.field or key.name) and field.default is not dataclasses.MISSING:
            return field.default
    return None


def default_text(table: Table, key: Key) -> str:
    """The default as TOML; empty when there is none."""
    value = default_of(table, key)
    if key.kind is Kind.FLAG:
        return "true" if value else "false"
    if value is None or key.kind is Kind.SPECIAL:
        return key.sample if key.sample_is_default else ""
    return number_text(key, value) if key.kind is Kind.COUNT else f'"{number_text(key, value)}"'


def number_text(key: Key, value: float) -> str:
    """A number in the unit of its key."""
    if key.kind is Kind.DURATION:
        return format_duration(value)
    if key.kind is Kind.RATE:
        return format_rate(value)
    return format_size(int(value)) if key.kind is Kind.SIZE else str(int(value))
