"""Group commit for an event loop: in the loop itself while the disk is fast, in a thread while it is slow.

A hand-over to a thread and back costs more than the fsync of a fast disk: with eight clients that send events singly,
committing in the loop stores more than twice as many. All requests that the loop has read in one turn make one commit,
and what arrives meanwhile waits in the sockets for the next. On a slow disk the loop would stand still for
each commit and could not even refuse; there the thread is better, and its hand-over does not matter. A disk counts as
slow until it has shown otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sluicegate.errors import LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.eventlog.base import EventLog, Offset
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.writer import MAX_COMMIT_BYTES, MAX_WAITING_EVENTS, Commit, GroupCommit, as_damage
from sluicegate.gateway.company import Company

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAST_S = 0.005
"""The loop commits once the disk keeps a commit less than this."""
SLOW_S = 0.010
"""The thread commits again when it keeps one more than this."""
TRIAL_COMMITS = 8
"""So many commits the thread makes before the disk is judged, after the start and after it was slow."""


class LoopCommit(Generic[T]):
    """Stores batches and reports each by its token, in the loop; the callbacks are those of `GroupCommit`.

    `on_gathered` is called before a commit for which something was announced: it submits what that has become.
    """

    def __init__(
        self,
        open_log: Callable[[], EventLog],
        *,
        on_committed: Callable[[list[tuple[T, Offset]], int], None],
        on_failed: Callable[[list[T], LogError], None],
        on_fatal: Callable[[LogError], None],
        bell: Bell,
        clock: Callable[[], float] = time.time,
        on_gathered: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_gathered = on_gathered
        self._open_log = open_log
        self._on_failed = on_failed
        self._on_fatal = on_fatal
        self._commit_here = Commit(on_committed=on_committed, on_failed=on_failed, bell=bell, clock=clock)
        self._thread: GroupCommit[T] = GroupCommit(
            open_log,
            on_committed=lambda done, n_left_out: self._call(on_committed, done, n_left_out),
            on_failed=lambda tokens, error: self._call(on_failed, tokens, error),
            on_fatal=lambda error: self._call(on_fatal, error),
            bell=bell,
            clock=clock,
        )
        self._log: EventLog | None = None
        self._waiting: list[tuple[EventBatch, T]] = []
        self._n_announced = 0
        self._is_gathering = False
        self._company = Company()
        self._in_loop = False
        self._trial_ends = TRIAL_COMMITS
        self._housekeeping: asyncio.Future[None] | None = None
        self._is_behind = False

    async def start(self) -> None:
        """Open the log; raises `LogError` when that is not possible."""
        await self._loop.run_in_executor(None, self._thread.start)
        self._log = self._open_log()

    def submit(self, batch: EventBatch, token: T) -> bool:
        """Hand a batch over, for one callback with this token; False when too much waits already, or it is closed."""
        if self._log is None or self._thread.waiting_events > MAX_WAITING_EVENTS // 2:
            return False
        self._begin()
        self._waiting.append((batch, token))
        return True

    def announce(self) -> None:
        """A request has come that will be submitted with others, when `on_gathered` is called."""
        self._n_announced += 1
        self._begin()

    def _begin(self) -> None:
        if not self._is_gathering:
            self._is_gathering = True
            self._company.begin(time.monotonic(), commit_s=min(FAST_S, self._commit_here.disk_s))
            self._loop.call_soon(self._gather)  # after everything that this turn of the loop has read

    def _gather(self) -> None:
        if self._company.is_awaited(len(self._waiting) + self._n_announced, time.monotonic()):
            self._loop.call_soon(self._gather)  # the loop reads what has come meanwhile
        else:
            self._flush()

    def _flush(self) -> None:
        if self._n_announced:
            self._n_announced = 0
            try:
                self._on_gathered()
            except Exception:  # or nothing would ever be gathered again
                logger.exception("what was announced is not brought in")
        self._is_gathering = False
        group, self._waiting = self._waiting, []
        if not group:
            return
        if not self._commits_in_loop():
            refused = [token for batch, token in group if not self._thread.submit(batch, token)]
            if refused:
                self._on_failed(refused, LogUnavailable("too many events wait for the disk"))
            return
        while group and self._log is not None:
            n_fitting = _fitting(group)
            self._commit(self._log, group[:n_fitting])
            group = group[n_fitting:]
        if group:
            self._on_failed([token for _, token in group], LogUnavailable("the event log is closed"))

    def _commits_in_loop(self) -> bool:
        thread = self._thread.commit
        if self._in_loop and self._commit_here.disk_s > SLOW_S:
            logger.info("a commit takes the disk %.1f ms: they are made in a thread", self._commit_here.disk_s * 1e3)
            self._in_loop = False
            self._commit_here.disk_s = 0.0
            self._trial_ends = thread.n_commits + TRIAL_COMMITS
        elif not self._in_loop and thread.n_commits >= self._trial_ends and thread.disk_s < FAST_S:
            self._in_loop = True
        return self._in_loop and not self._thread.waiting_events

    def _commit(self, log: EventLog, group: list[tuple[EventBatch, T]]) -> None:
        try:
            self._commit_here(log, group)
        except BaseException as error:
            self._log = None
            logger.critical("the event log cannot be written any more: %s", error, exc_info=error)
            self._on_fatal(as_damage(error))
            return
        if log.needs_maintenance and self._housekeeping is None:
            self._begin_housekeeping()

    def _begin_housekeeping(self) -> None:
        try:
            self._housekeeping = self._loop.run_in_executor(None, self._maintain)
        except RuntimeError as error:  # no thread can be started: the next commit tries again
            logger.debug("the housekeeping of the event log cannot be begun: %s", error)
        else:
            self._housekeeping.add_done_callback(self._maintained)

    def _maintain(self) -> None:
        # With a connection of its own, in another thread: appends go on meanwhile.
        other = self._open_log()
        try:
            other.maintain()
        finally:
            other.close()

    def _maintained(self, done: asyncio.Future[None]) -> None:
        self._housekeeping = None
        if done.cancelled():
            return
        error = done.exception()
        if error is None and self._log is not None:
            error = self._finish_maintenance(self._log)
        if isinstance(error, LogUnavailable):  # such as no file descriptor being left: the next commit tries again
            level = logging.DEBUG if self._is_behind else logging.WARNING
            logger.log(level, "the event log's WAL could not be moved to the database: %s", error)
            self._is_behind = True
            return
        self._is_behind = False
        if error is not None:
            self._on_fatal(as_damage(error))

    @staticmethod
    def _finish_maintenance(log: EventLog) -> BaseException | None:
        try:
            log.finish_maintenance()
        except LogError as error:
            return error
        return None

    def _call(self, function: Callable[..., None], *args: object) -> None:
        """From the writer's thread to the loop; a loop that has ended has no clients left to tell."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            logger.debug("the loop has ended")

    async def close(self, timeout_s: float) -> bool:
        """Take no more and store what waits; False when that takes longer."""
        self._flush()
        own, self._log = self._log, None
        if self._housekeeping is not None:
            await asyncio.wait([self._housekeeping], timeout=timeout_s)
        if own is not None:
            own.close()
        return await self._loop.run_in_executor(None, self._thread.close, timeout_s)


def _fitting(group: list[tuple[EventBatch, T]]) -> int:
    """How many of these batches make one commit, at least one."""
    n_bytes = 0
    for index, (batch, _) in enumerate(group):
        n_bytes += batch.n_bytes
        if index and n_bytes > MAX_COMMIT_BYTES:
            return index
    return len(group)
