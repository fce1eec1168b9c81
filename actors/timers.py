"""Named deadlines of one actor."""

from __future__ import annotations

from collections.abc import Hashable

_EARLY_S = 0.001  # a wake-up this much before its deadline counts as on time


class Timers:
    """What is due when; pure, so `now` is an argument (seconds, monotonic)."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[Hashable, float] = {}

    def set(self, name: Hashable, deadline: float) -> None:
        """Arm a timer, or move it."""
        self._deadlines[name] = deadline

    def cancel(self, name: Hashable) -> None:
        """Disarm a timer, if it is armed."""
        self._deadlines.pop(name, None)

    def next_deadline(self) -> float | None:
        """When the first timer is due; None when none is armed."""
        return min(self._deadlines.values(), default=None)

    def take_due(self, now: float) -> list[Hashable]:
        """The names of the timers that are due, in the order of their deadlines; they are no longer armed."""
        due = sorted(
            (when, index, name) for index, (name, when) in enumerate(self._deadlines.items()) if when <= now + _EARLY_S
        )
        for _, _, name in due:
            del self._deadlines[name]
        return [name for _, _, name in due]
