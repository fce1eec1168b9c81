"""How much of the event log is kept: everything for a day, what a destination waits for longer, all within bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sluicegate.config.model import LogConfig
from sluicegate.eventlog.base import EventLog, Offset

log = logging.getLogger(__name__)

ArrivedMs = Callable[[Offset], int | None]
"""When the first event after an offset arrived, None when there is none."""


def arrived_since(since_ms: int, *, tail: Offset, head: Offset, received_at_ms: ArrivedMs) -> Offset:
    """The first offset from `tail` to `head` that arrived at this time or later, `head` + 1 when there is none.

    Arrival times grow with offsets, but for changes of the clock, which move the result a little.
    """
    low, high = tail, head + 1
    while low < high:
        middle = (low + high) // 2
        arrived = received_at_ms(middle - 1)
        if arrived is not None and arrived < since_ms:
            low = middle + 1
        else:
            high = middle
    return max(tail, low)


def trim_before(
    cursors: Iterable[Offset],
    *,
    tail: Offset,
    head: Offset,
    received_at_ms: ArrivedMs,
    now_ms: int,
    keep_ms: int,
) -> Offset:
    """The offset before which nothing is needed any more; `tail` when everything still is.

    `cursors` are those of all enabled destinations: what they have all passed is kept for `keep_ms`.
    """
    passed = min(min(cursors, default=head), head)
    return arrived_since(now_ms - keep_ms, tail=tail, head=passed, received_at_ms=received_at_ms)


class Retention:
    """Applies the bounds of the configuration to a log."""

    def __init__(self, config: LogConfig) -> None:
        self._config = config

    def over_size(self, event_log: EventLog) -> bool:
        """Whether the log is larger than it may be."""
        return event_log.used_bytes() > self._config.max_bytes

    def apply(
        self,
        event_log: EventLog,
        cursors: Mapping[str, Offset] | None,
        *,
        now_ms: int,
        disk_low: bool = False,
        held: Sequence[Offset] = (),
    ) -> int:
        """Trim the log and return how many events went; `cursors` are None when what is needed is not known.

        `held` has the first event that each destination still holds, though its cursor has passed it.

        What all destinations have passed goes when it is old, or at once when the disk is low; what they have not goes
        when the log is older or larger than it may be, with a warning: it expires.
        """
        tail, head = event_log.tail(), event_log.head()
        needed = None if cursors is None else [*cursors.values(), *(offset - 1 for offset in held)]
        before = self._before(event_log, needed, now_ms=now_ms, disk_low=disk_low)
        trimmed = event_log.trim(before) + self._trim_to_size(event_log)
        if trimmed:
            log.info("the event log let go of %d events", trimmed)
            _warn_of_expired(cursors or {}, tail=tail, new_tail=min(event_log.tail(), head + 1))
        event_log.shrink(entirely=disk_low)
        return trimmed

    def _before(self, event_log: EventLog, cursors: Sequence[Offset] | None, *, now_ms: int, disk_low: bool) -> Offset:
        config, tail, head = self._config, event_log.tail(), event_log.head()
        since_ms = now_ms - int(config.max_age_s * 1000)
        before = arrived_since(since_ms, tail=tail, head=head, received_at_ms=event_log.received_at_ms)
        if cursors is None:
            return before
        unneeded = trim_before(
            cursors,
            tail=tail,
            head=head,
            received_at_ms=event_log.received_at_ms,
            now_ms=now_ms,
            keep_ms=-1 if disk_low else int(config.retention_s * 1000),
        )
        return max(before, unneeded)

    def _trim_to_size(self, event_log: EventLog) -> int:
        """Let the oldest events go until the log has the size that it may have."""
        trimmed = 0
        max_bytes = self._config.max_bytes
        while (used := event_log.used_bytes()) > max_bytes:
            oldest = event_log.read(event_log.tail() - 1, max_events=1, max_bytes=1)
            if not oldest:
                break
            n_stored = event_log.head() - oldest[0].first + 1
            share = oldest[0].first + n_stored * (used - max_bytes) // used
            gone = event_log.trim(max(share, oldest[0].last + 1))
            if not gone:
                break
            trimmed += gone
        return trimmed


def _warn_of_expired(cursors: Mapping[str, Offset], *, tail: Offset, new_tail: Offset) -> None:
    for name, cursor in cursors.items():
        n_expired = new_tail - max(tail, cursor + 1)
        if n_expired > 0:
            log.warning(
                "%s: %d events have expired, because the event log reached log.max_age or log.max_size before they "
                "were dealt with",
                name,
                n_expired,
            )
