"""The way from the threads of an actor's process to the actor."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Threads `put`, the actor is woken by the descriptor and drains all at once, in the order of putting.

    An actor takes one with `SafeActor.open_inbox`. Any number of items put before the actor looks make one wake-up.
    """

    __slots__ = ("_fd", "_items", "_signalled")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signalled = False

    def fileno(self) -> int:
        """The descriptor that is readable while there is something to drain."""
        return self._fd

    def put(self, item: T) -> None:
        """Hand an item to the actor; from any thread, never blocks."""
        self._items.append(item)
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._fd, 1)

    def drain(self) -> list[T]:
        """Everything that has been put since the last time."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        self._signalled = False  # whoever puts from here on signals again; before the read that would be read with it
        items: list[T] = []
        with contextlib.suppress(IndexError):
            while True:
                items.append(self._items.popleft())
        return items

    def close(self) -> None:
        """Close the descriptor; after the threads have ended and the actor does not watch it any more."""
        os.close(self._fd)
