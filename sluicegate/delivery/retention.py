"""How much of the event log is kept: what some destination has not dealt with, and everything for a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluicegate.eventlog.base import Offset

KEEP_MS = 24 * 3600 * 1000
"""Events are kept this long after all destinations have passed them, for `explain` and for people."""


def trim_before(
    cursors: Iterable[Offset],
    *,
    tail: Offset,
    head: Offset,
    received_at_ms: Callable[[Offset], int | None],
    now_ms: int,
    keep_ms: int = KEEP_MS,
) -> Offset:
    """The offset before which nothing is needed any more; `tail` when everything still is.

    `cursors` are those of all enabled destinations; `received_at_ms(after)` is when the first event after an offset
    arrived. Arrival times grow with offsets, but for changes of the clock, which move the bound a little.
    """
    passed = min(cursors, default=head)
    old = now_ms - keep_ms
    low, high = tail, min(passed, head) + 1  # events before `low` are old and passed; those from `high` on are not
    while low < high:
        middle = (low + high) // 2
        arrived = received_at_ms(middle - 1)
        if arrived is not None and arrived < old:
            low = middle + 1
        else:
            high = middle
    return max(tail, low)
