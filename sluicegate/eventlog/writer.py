"""Group commit: one thread that appends what all requests brought, in one transaction at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from sluicegate.errors import LogDamaged, LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.eventlog.bell import Bell

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_COMMIT_BYTES = 4 * 1024 * 1024
MAX_COMMIT_EVENTS = 10_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_WAITING_EVENTS = 100_000


EVENT_S = 5e-6
"""What an event of a large commit may take: encoding, checksums and copying, without the disk."""
WEIGHT = 0.2
"""Of the newest commit in the mean."""


class Commit(Generic[T]):
    """One commit of several batches: append, ring, report by token; see `GroupCommit` for the callbacks."""

    def __init__(
        self,
        *,
        on_committed: Callable[[list[tuple[T, Offset]], int], None],
        on_failed: Callable[[list[T], LogError], None],
        bell: Bell | None,
        clock: Callable[[], float],
    ) -> None:
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._bell = bell
        self._clock = clock
        self.n_commits = 0
        self.disk_s = 0.0
        """How long the disk keeps a commit, in the mean of the last few; more when it fails one late."""

    def __call__(self, log: EventLog, group: Sequence[tuple[EventBatch, T]]) -> None:
        """Store the group and report it; raises, after `on_failed`, when the log can't be trusted any more."""
        began = time.monotonic()
        try:
            offsets = log.append([batch for batch, _ in group], received_at_ms=int(self._clock() * 1000))
        except LogUnavailable as error:
            self._note_failed(time.monotonic() - began)
            self._on_failed([token for _, token in group], error)
        except BaseException as error:
            self._on_failed([token for _, token in group], as_damage(error))
            raise
        else:
            n_events = sum([len(batch.events) for batch, _ in group])
            self._note(time.monotonic() - began, n_events)
            n_stored = n_events - log.n_left_out
            if n_stored:
                # Where a batch that brings nothing new would be is not told (0); what is stored lies side by side.
                self._ring(min([offset for offset in offsets if offset]) + n_stored - 1)
            done = [(token, offset) for (_, token), offset in zip(group, offsets, strict=True)]
            self._on_committed(done, log.n_left_out)

    def _note(self, took_s: float, n_events: int) -> None:
        self.disk_s += WEIGHT * (max(0.0, took_s - EVENT_S * n_events) - self.disk_s)
        self.n_commits += 1

    def _note_failed(self, took_s: float) -> None:
        # A commit that waits in vain for a lock keeps its caller as a slow disk does; one that fails at once shows
        # nothing of how fast the disk is.
        self.disk_s += WEIGHT * max(0.0, took_s - self.disk_s)

    def _ring(self, head: Offset) -> None:
        if self._bell is not None:
            try:
                self._bell.ring(head)
            except OSError as error:  # costs latency only
                logger.warning("the bell cannot be rung: %s", error)


class GroupCommit(Generic[T]):
    """Appends batches in a thread of its own, all that wait as one commit, and reports each by its token.

    The callbacks run in that thread, once per commit: `on_committed([(token, first offset), ...], n_left_out)` when the
    events are on disk, those apart that the log had from before; `on_failed([token, ...], error)` when none of them was
    stored. `on_fatal(error)` is the last call: the log can't be trusted any more (or a callback raised) and the process
    must end. A commit never waits for more to come; while it is under way, the next one gathers.
    """

    def __init__(
        self,
        open_log: Callable[[], EventLog],
        *,
        on_committed: Callable[[list[tuple[T, Offset]], int], None],
        on_failed: Callable[[list[T], LogError], None],
        on_fatal: Callable[[LogError], None],
        bell: Bell | None = None,
        clock: Callable[[], float] = time.time,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        max_waiting_events: int = MAX_WAITING_EVENTS,
    ) -> None:
        self._open_log = open_log
        self.commit = Commit(on_committed=on_committed, on_failed=on_failed, bell=bell, clock=clock)
        self._on_failed = on_failed
        self._on_fatal = on_fatal
        self._max_waiting_bytes = max_waiting_bytes
        self._max_waiting_events = max_waiting_events
        # SimpleQueue hands over without the interpreter's locks of Condition; None is the order to end.
        self._queue: SimpleQueue[tuple[EventBatch, T] | None] = SimpleQueue()
        self._held: tuple[EventBatch, T] | None = None
        self._lock = Lock()
        self._submitted_bytes = self._submitted_events = 0  # under the lock
        self._settled_bytes = self._settled_events = 0  # by the thread alone
        self._accepting = False
        self._opened = Event()
        self._open_error: BaseException | None = None
        self._thread = Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread; return when the log is open, or raise what opening it raised."""
        self._thread.start()
        self._opened.wait()
        if self._open_error is not None:
            raise self._open_error

    def submit(self, batch: EventBatch, token: T) -> bool:
        """Hand a batch over, for one callback with this token; False when too much waits already, or it is closed.

        The batch must not be changed afterwards. For any thread; never blocks.
        """
        with self._lock:
            n_bytes, n_events = self._submitted_bytes + batch.n_bytes, self._submitted_events + len(batch)
            if (
                not self._accepting
                or n_bytes - self._settled_bytes > self._max_waiting_bytes
                or n_events - self._settled_events > self._max_waiting_events
            ):
                return False
            self._submitted_bytes, self._submitted_events = n_bytes, n_events
            self._queue.put((batch, token))
        return True

    @property
    def waiting_events(self) -> int:
        """How many events have been handed over and not been settled."""
        return self._submitted_events - self._settled_events

    def close(self, timeout_s: float) -> bool:
        """Take no more, store what waits and end the thread; False when that takes longer than `timeout_s`."""
        with self._lock:
            if self._accepting:
                self._accepting = False
                self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            log = self._open_log()
        except BaseException as error:
            self._open_error = error
            self._opened.set()
            return
        self._accepting = True
        self._opened.set()
        try:
            self._serve(log)
        except BaseException as error:
            self._end(error)
        finally:
            log.close()

    def _serve(self, log: EventLog) -> None:
        going_on = True
        while going_on:
            if self._held is None and self._queue.empty() and log.needs_maintenance:
                log.maintain()
            first = self._held or self._queue.get()
            if first is None:
                return
            group, going_on = self._gather(first)
            self._commit(log, group)

    def _gather(self, first: tuple[EventBatch, T]) -> tuple[list[tuple[EventBatch, T]], bool]:
        """What goes into one commit, and whether the thread goes on after it; one too many is held for the next."""
        self._held = None
        group = [first]
        n_bytes, n_events = first[0].n_bytes, len(first[0])
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group, True
            if item is None:
                return group, False
            n_bytes += item[0].n_bytes
            n_events += len(item[0])
            if n_bytes > MAX_COMMIT_BYTES or n_events > MAX_COMMIT_EVENTS:
                self._held = item
                return group, True
            group.append(item)

    def _commit(self, log: EventLog, group: Sequence[tuple[EventBatch, T]]) -> None:
        try:
            self.commit(log, group)
        except BaseException:
            self._accepting = False
            raise
        finally:
            self._settle([batch for batch, _ in group])

    def _settle(self, batches: Sequence[EventBatch]) -> None:
        self._settled_bytes += sum(batch.n_bytes for batch in batches)
        self._settled_events += sum(map(len, batches))

    def _end(self, error: BaseException) -> None:
        with self._lock:
            self._accepting = False
        damage = as_damage(error)
        tokens = [] if self._held is None else [self._held[1]]
        while not self._queue.empty():
            item = self._queue.get()
            if item is not None:
                tokens.append(item[1])
        if tokens:
            self._on_failed(tokens, damage)
        logger.critical("the event log cannot be written any more: %s", error, exc_info=error)
        self._on_fatal(damage)


def as_damage(error: BaseException) -> LogError:
    """Any error of the writing side as one that says the log can't be trusted."""
    return error if isinstance(error, LogError) else LogDamaged(f"the log writer failed: {error!r}")
