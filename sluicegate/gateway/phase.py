"""Where a connection stands."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """What the connection's next bytes belong to."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    LINGER = enum.auto()
    """Nothing: the last answer is decided, what still comes is dropped."""
