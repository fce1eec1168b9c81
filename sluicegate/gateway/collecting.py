"""What events say about consent on its way to the ledger: there before the events are in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluicegate.acceptance.collecting import Collector
from sluicegate.config.model import Config
from sluicegate.consent.ledger import Ledger, Recorded
from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import Rules
from sluicegate.consent.writer import LedgerWriter
from sluicegate.errors import ConsentUnreadable, LogError
from sluicegate.event import EventBatch
from sluicegate.paths import DataDir

log = logging.getLogger(__name__)

Then = Callable[[], None]


class Collecting:
    """Writes what is new in accepted events; belongs to the loop.

    A ledger that cannot be read or written does not keep events out: each carries its own stamp, and nothing is
    delivered while the ledger cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._data_dir = DataDir(config.data_dir)
        rules = Rules.of(config.consent)
        self._ledger = LedgerReader(self._data_dir.consent, self._data_dir.consent_key, rules)
        self._collector = Collector(self._ledger)
        self._writer: LedgerWriter[Then] = LedgerWriter(
            self._open_ledger,
            on_recorded=lambda tokens, recorded: self._call(tokens, recorded),
            on_failed=lambda tokens, error: self._call(tokens, error),
        )

    def _open_ledger(self) -> Ledger:
        return Ledger(self._data_dir.consent, self._data_dir.consent_key, purposes=self._config.purposes.known)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def collect(self, batch: EventBatch, then: Then) -> None:
        """Call `then` when what these events say is in the ledger; at once when it says nothing new."""
        try:
            entries = self._collector.collect(batch, received_ms=time.time_ns() // 1_000_000)
        except ConsentUnreadable as error:
            log.warning("what events say about consent is not recorded: %s", error)
            entries = []
        if not entries or not self._writer.submit(entries, then):
            then()

    async def close(self, timeout_s: float) -> bool:
        """Write what waits; False when that takes longer."""
        closed = await self._loop.run_in_executor(None, self._writer.close, timeout_s)
        await asyncio.sleep(0)  # what follows on the last write
        self._ledger.close()
        return closed

    def _call(self, tokens: list[Then], outcome: Recorded | LogError) -> None:
        """From the writer's thread to the loop; a loop that has ended has no clients left to tell."""
        if isinstance(outcome, LogError):
            log.warning("what events say about consent is not recorded: %s", outcome)
        try:
            for then in tokens:
                self._loop.call_soon_threadsafe(then)
        except RuntimeError:
            log.debug("the loop has ended")
