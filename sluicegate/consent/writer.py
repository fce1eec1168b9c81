"""Group commit for the ledger: one thread that writes what all callers brought, in one transaction at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

from sluicegate.consent.evidence import Entry
from sluicegate.consent.history import forget_old
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.errors import LogDamaged, LogError, LogUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING = 10_000
"""Hand-overs in the queue: some seconds of work on a slow disk."""
MAX_GROUP = 1_000

FORGET_EVERY_S = 60.0
FORGET_CHUNKS = 10
"""Of a thousand rows each, about 5 ms; with one write a minute still more than an hour's writes in an hour."""


class LedgerWriter(Generic[T]):
    """Writes entries in a thread of its own and reports each hand-over by its token.

    The callbacks run in that thread, once per transaction: `on_recorded(tokens, recorded)` when the entries are on
    disk, `on_failed(tokens, error)` when none of them was written. An entry that cannot be written fails nobody else's.
    A ledger that cannot be opened or is damaged fails what is handed over and is opened again for what comes next: the
    caller goes on without it, and with it once it is whole again. With `history_ttl_s` older history is removed now and
    then, after a write.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        *,
        on_recorded: Callable[[list[T], Recorded], None],
        on_failed: Callable[[list[T], LogError], None],
        history_ttl_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history_ttl_s = history_ttl_s
        self._forget_at = 0.0
        self._open_ledger = open_ledger
        self._on_recorded = on_recorded
        self._on_failed = on_failed
        self._clock = clock
        self._ledger: Ledger | None = None
        self._queue: SimpleQueue[tuple[Sequence[Entry], T] | None] = SimpleQueue()
        self._lock = Lock()
        self._accepting = False
        self._thread = Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Start the thread; the ledger is opened when the first entries come."""
        self._accepting = True
        self._thread.start()

    def submit(self, entries: Sequence[Entry], token: T) -> bool:
        """Hand entries over, for one callback with this token; False when too much waits already, or it is closed.

        Without entries the callback comes when all is on disk that anybody wrote before.
        """
        with self._lock:
            if not self._accepting or self._queue.qsize() >= MAX_WAITING:
                return False
            self._queue.put((entries, token))
        return True

    def close(self, timeout_s: float) -> bool:
        """Take no more, write what waits and end the thread; False when that takes longer than `timeout_s`."""
        with self._lock:
            if self._accepting:
                self._accepting = False
                self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        going_on = True
        while going_on:
            first = self._queue.get()
            if first is None:
                break
            group = [first]
            with suppress(Empty):
                while going_on and len(group) < MAX_GROUP:
                    item = self._queue.get_nowait()
                    if item is None:
                        going_on = False
                    else:
                        group.append(item)
            self._write(group)
        self._drop_ledger()

    def _write(self, group: list[tuple[Sequence[Entry], T]]) -> None:
        tokens = [token for _, token in group]
        try:
            if self._ledger is None:
                self._ledger = self._open_ledger()
            entries = [entry for brought, _ in group for entry in brought]
            recorded = self._ledger.record(entries, now_ms=int(self._clock() * 1_000))
            if not all(brought for brought, _ in group):
                self._ledger.sync()
        except LogUnavailable as error:
            self._on_failed(tokens, error)
        except Exception as error:
            logger.exception("the consent ledger cannot be written")
            self._drop_ledger()
            if len(group) > 1 and not isinstance(error, LogError):
                for one in group:  # it is an entry, and the others are not to blame for it
                    self._write([one])
                return
            failure = error if isinstance(error, LogError) else LogDamaged(f"{type(error).__name__}: {error}")
            self._on_failed(tokens, failure)
        else:
            self._on_recorded(tokens, recorded)
            self._forget(self._ledger, self._clock())

    def _forget(self, ledger: Ledger, now: float) -> None:
        is_early = self._forget_at - FORGET_EVERY_S <= now < self._forget_at  # earlier than that: it was set back
        if self._history_ttl_s is None or is_early:
            return
        self._forget_at = now + FORGET_EVERY_S
        try:
            ttl_ms = int(self._history_ttl_s * 1_000)
            forget_old(ledger, now_ms=int(now * 1_000), ttl_ms=ttl_ms, max_chunks=FORGET_CHUNKS)
        except LogError as error:
            logger.warning("old history of consent cannot be removed: %s", error)
        except Exception:  # the thread goes on, or no decision would be answered any more
            logger.exception("old history of consent cannot be removed")

    def _drop_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()
