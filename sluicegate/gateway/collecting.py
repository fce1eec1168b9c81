"""What events say about consent on its way to the ledger: there before the events are in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from sluicegate.acceptance.collecting import Collector, UnderWay
from sluicegate.acceptance.suppressing import Suppressor
from sluicegate.config.model import Config
from sluicegate.consent.evidence import Entry, is_only_seen
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.consent.suppressed import SuppressedCount
from sluicegate.consent.writer import LedgerWriter
from sluicegate.errors import ConsentUnreadable, LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.metrics import ConsentCounts
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

Then = Callable[[], None]

MAX_HERE = 128
"""Entries that are written in the loop at once; each takes about 20 us."""
SYNC_AFTER_S = 0.1
"""How long until what was written in the loop is on disk too."""


class Collecting:
    """Writes what is new in accepted events; belongs to the loop.

    What a device was seen to say is written in the loop: it is there when the events are stored, and survives the end
    of the process; a power cut can take the last tenth of a second of it, which is only of the stamps that the stored
    events still carry. Decisions, and what others' writing keeps from being written at once, go through a thread and
    wait for the disk.

    A ledger that cannot be read or written does not keep events out: each carries its own stamp, and nothing is
    delivered while the ledger cannot be read.
    """

    def __init__(self, config: Config, counts: ConsentCounts) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._data_dir = DataDir(config.data_dir)
        rules = Rules.of(config.consent)
        self._ledger = LedgerReader(self._data_dir.consent, self._data_dir.consent_key, rules)
        self._counts = counts
        self._is_fresh = False
        self._collector = Collector(
            self._ledger, gpc_purposes=config.consent.gpc_purposes, counts=counts, refresh=self._refresh
        )
        count = SuppressedCount(self._data_dir.suppressed, "http")
        self._suppressor = Suppressor(self._ledger, count=count, refresh=self._refresh)
        self._under_way = UnderWay()
        self._here: Ledger | None = None
        self._syncs = False
        self._writer: LedgerWriter[Then] = LedgerWriter(
            self._open_ledger,
            on_recorded=lambda tokens, recorded: self._call(tokens, recorded),
            on_failed=lambda tokens, error: self._call(tokens, error),
            history_ttl_s=config.consent.history_ttl_s,
        )

    def _open_ledger(self, *, create: bool = True, waits: bool = True) -> Ledger:
        purposes = self._config.purposes.stored
        data_dir = self._data_dir
        return Ledger(data_dir.consent, data_dir.consent_key, create=create, purposes=purposes, waits=waits)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def taken(self, batch: EventBatch) -> EventBatch:
        """The batch without the events of people who are suppressed.

        All of it while the ledger cannot be read: what is stored then is not delivered.
        """
        try:
            return self._suppressor.taken(batch)
        except ConsentUnreadable as error:
            self._is_fresh = False
            log.warning("it is not known whose events are not to be taken: %s", error)
            return batch

    def collect(self, batch: EventBatch, then: Then) -> None:
        """Call `then` when what these events say is in the ledger; at once when it says nothing new."""
        try:
            entries = self._collector.collect(batch, received_ms=time.time_ns() // 1_000_000)
        except ConsentUnreadable as error:
            self._is_fresh = False  # the next in this turn may try anew
            log.warning("what events say about consent is not recorded: %s", error)
            self._counts.unwritten += 1
            self._collector.was_not_written()
            entries = []
        waits = self._under_way.must_wait(batch)
        if not waits and (not entries or self._wrote_here(entries)):
            then()
        elif self._writer.submit(entries, partial(self._go_on, batch, then)):
            self._under_way.add(batch)
        else:
            self._counts.unwritten += 1
            self._collector.was_not_written()
            then()

    def _wrote_here(self, entries: Sequence[Entry]) -> bool:
        """Write what devices were seen to say, if that can be done at once."""
        if len(entries) > MAX_HERE or not all(map(is_only_seen, entries)) or not self._data_dir.consent.exists():
            return False
        try:
            if self._here is None:
                self._here = self._open_ledger(create=False, waits=False)
            self._here.record(entries, now_ms=time.time_ns() // 1_000_000)
        except LogUnavailable:
            return False
        except LogError as error:
            log.warning("the consent ledger cannot be written here: %s", error)
            self._drop_here()
            return False
        self._is_fresh = False
        if not self._syncs:
            self._syncs = True
            self._loop.call_later(SYNC_AFTER_S, self._sync)
        return True

    def _sync(self) -> None:
        if self._syncs:
            self._syncs = False
            self._writer.submit((), lambda: None)

    def _drop_here(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            here.close()

    def _refresh(self) -> None:
        """Once for all that the loop reads in one turn."""
        if not self._is_fresh:
            self._ledger.refresh()
            self._is_fresh = True
            self._loop.call_soon(self._turn_ends)

    def _turn_ends(self) -> None:
        self._is_fresh = False

    def _go_on(self, batch: EventBatch, then: Then) -> None:
        self._under_way.remove(batch)
        then()

    async def close(self, timeout_s: float) -> bool:
        """Write what waits; False when that takes longer."""
        self._sync()
        rest = self._collector.rest()
        if rest:
            self._writer.submit(rest, lambda: None)
        closed = await self._loop.run_in_executor(None, self._writer.close, timeout_s)
        await asyncio.sleep(0)  # what follows on the last write
        self._drop_here()
        self._ledger.close()
        return closed

    def _call(self, tokens: list[Then], outcome: Recorded | LogError) -> None:
        """From the writer's thread to the loop; a loop that has ended has no clients left to tell."""
        if isinstance(outcome, LogError):
            log.warning("what events say about consent is not recorded: %s", outcome)
            self._counts.unwritten += len(tokens)
        try:
            if isinstance(outcome, LogError):
                self._loop.call_soon_threadsafe(self._collector.was_not_written)
            for then in tokens:
                self._loop.call_soon_threadsafe(then)
        except RuntimeError:
            log.debug("the loop has ended")
