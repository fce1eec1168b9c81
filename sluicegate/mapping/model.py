"""`[destinations.ID.map]` as values that have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class MapConfig:
    """What is changed about events for one destination; places are texts like `properties.total`."""

    only: tuple[str, ...] = ()
    """Names of the events that go out, with `*` for any text; empty for all."""
    skip: tuple[str, ...] = ()
    """Names of events that do not."""
    user_id: str = ""
    """Where `userId` comes from; empty for the event's own."""
    anonymous_id: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Old place to new place."""
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    add: Mapping[str, Any] = field(default_factory=dict)
    """Place to value."""

    def __bool__(self) -> bool:
        return self != MapConfig()
