"""Waiting for the bell, for calls that have ended, or for a time; never busy."""

from __future__ import annotations

import contextlib
import math
import os
import select

from sluicegate.eventlog.bell import FALLBACK_POLL_S, BellWatch


class Waiting:
    """The waits of one thread; `wake` may be called from any."""

    def __init__(self, bell: BellWatch) -> None:
        self._bell = bell
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wakes = select.poll()
        self._wakes.register(self._wake_fd, select.POLLIN)
        self._all = select.poll()
        self._all.register(self._wake_fd, select.POLLIN)
        bell_fd = bell.fileno()
        self._bell_is_polled = bell_fd is not None
        if bell_fd is not None:
            self._all.register(bell_fd, select.POLLIN)

    def wake(self) -> None:
        """End the wait that is under way, or the next one."""
        os.eventfd_write(self._wake_fd, 1)

    def for_wake(self, timeout_s: float) -> None:
        """Wait for a wake-up alone."""
        if timeout_s > 0:
            self._wakes.poll(_ms(timeout_s))
        self._clear()

    def for_any(self, timeout_s: float) -> bool:
        """Wait for a wake-up or the bell; say whether the bell has rung."""
        if not self._bell_is_polled:
            timeout_s = min(timeout_s, FALLBACK_POLL_S)
        self._all.poll(_ms(timeout_s))
        self._clear()
        return self._bell.clear()

    def _clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)


def _ms(seconds: float) -> int:
    return max(0, math.ceil(min(seconds, 3600.0) * 1000))
