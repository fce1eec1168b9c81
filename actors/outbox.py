"""The queue of messages that wait to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """First in, first out for each receiver, with one batch at a time on its way to each.

    So messages from one actor to another keep their order, and a receiver that does not answer holds up nobody but
    itself. All operations take constant time except `expire`, which looks at each receiver's oldest message.
    Not thread-safe: the transport guards it.
    """

    def __init__(self, *, size_of: Callable[[T], int], max_items: int, max_bytes: int) -> None:
        self._size_of = size_of
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._waiting: dict[Hashable, deque[T]] = {}
        self._ready: deque[Hashable] = deque()
        self._on_the_way: set[Hashable] = set()
        self._count = 0

    def __len__(self) -> int:
        """How many messages wait, not counting those on their way."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """The waiting messages, receiver by receiver."""
        return (item for queue in self._waiting.values() for item in queue)

    @property
    def ready(self) -> bool:
        """True when `take` may give a batch."""
        return bool(self._ready)

    def put(self, receiver: Hashable, item: T) -> None:
        """Add a message behind all others for the same receiver."""
        queue = self._waiting.get(receiver)
        if queue is None:
            queue = self._waiting[receiver] = deque()
            if receiver not in self._on_the_way:
                self._ready.append(receiver)
        queue.append(item)
        self._count += 1

    def take(self) -> list[T]:
        """The next batch, for a receiver that has none on its way; it is on its way until `done`. Empty when none."""
        while self._ready:
            receiver = self._ready.popleft()
            queue = self._waiting.get(receiver)
            if queue and receiver not in self._on_the_way:
                batch = self._cut(queue)
                self._count -= len(batch)
                self._on_the_way.add(receiver)
                if not queue:
                    del self._waiting[receiver]
                return batch
        return []

    def done(self, receiver: Hashable) -> None:
        """The batch on its way to this receiver has arrived or failed."""
        if receiver in self._on_the_way:
            self._on_the_way.discard(receiver)
            if receiver in self._waiting:
                self._ready.append(receiver)

    def expire(self, is_expired: Callable[[T], bool]) -> list[T]:
        """Take out the messages that are too old; those for one receiver are in the order of their age."""
        gone: list[T] = []
        for receiver, queue in list(self._waiting.items()):
            while queue and is_expired(queue[0]):
                gone.append(queue.popleft())
            if not queue:
                del self._waiting[receiver]
        self._count -= len(gone)
        return gone

    def _cut(self, queue: deque[T]) -> list[T]:
        """The front of a queue: at least one message, and no more than fit."""
        batch = [queue.popleft()]
        left = self._max_bytes - self._size_of(batch[0])
        while queue and len(batch) < self._max_items and (left := left - self._size_of(queue[0])) >= 0:
            batch.append(queue.popleft())
        return batch
