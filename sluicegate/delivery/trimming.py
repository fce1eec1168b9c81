"""When the event log is trimmed, and what the destinations still need of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from sluicegate.accounts import Account, read_accounts
from sluicegate.config.model import LogConfig
from sluicegate.delivery.retention import Retention
from sluicegate.delivery.spoilt import Spoilt
from sluicegate.delivery.store import DestinationStore
from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.space import FreeSpace
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registration

log = logging.getLogger(__name__)

TRIM_EVERY_S = 600.0
TRIM_EVERY_WHEN_LOW_S = 5.0
CHECK_SIZE_EVERY_S = 2.0


class Trimming:
    """Trims from time to time, sooner when the disk is low, and at once when the log is too large.

    `registered` are all enabled destinations as they are now; `open_store` opens the store of one.
    """

    def __init__(
        self,
        config: LogConfig,
        data_dir: DataDir,
        *,
        registered: Callable[[], Mapping[str, Registration]],
        open_store: Callable[[str], DestinationStore],
        spoilt: Spoilt,
    ) -> None:
        self._data_dir = data_dir
        self._registered = registered
        self._open_store = open_store
        self._spoilt = spoilt
        self._retention = Retention(config)
        self._space = FreeSpace(data_dir.root, config)
        self.trimmed_at = time.monotonic()
        self.checked_at = float("-inf")
        self._untrimmable = ""
        """The damage at which the last trim failed: the next one waits, though the log may be too large."""

    def keep_bounds(self, event_log: SqliteLog, now: float) -> bool:
        """Trim when it is time for it, and say whether it was; `now` is monotonic."""
        if now < self.checked_at + CHECK_SIZE_EVERY_S:
            return False
        self.checked_at = now
        disk_low = self._space.problem(now) is not None
        due_at = self.trimmed_at + (TRIM_EVERY_WHEN_LOW_S if disk_low else TRIM_EVERY_S)
        if now < due_at and (self._untrimmable or not self._retention.over_size(event_log)):
            return False
        self.trimmed_at = now
        self._trim(event_log, disk_low=disk_low)
        return True

    def _trim(self, event_log: SqliteLog, *, disk_low: bool) -> None:
        """Apply the bounds to the log; what is damaged in it keeps nothing else from being done."""
        try:
            cursors, held = self._needed(event_log)
            now_ms = time.time_ns() // 1_000_000
            self._retention.apply(event_log, cursors, now_ms=now_ms, disk_low=disk_low, held=held)
        except LogUnavailable as error:
            log.warning("the event log cannot be trimmed now: %s", error)
        except LogDamaged as error:
            if str(error) != self._untrimmable:
                log.error("the event log cannot be trimmed, and grows until it is repaired: %s", error)
            self._untrimmable = str(error)
        else:
            self._untrimmable = ""

    def _needed(self, event_log: SqliteLog) -> tuple[dict[str, Offset] | None, list[Offset]]:
        """Cursors and first held events of all enabled destinations; None for cursors when any of it is not known."""
        accounts = self._accounts(event_log)
        if accounts is None:
            return None, []
        held = self._oldest_held(name for name, account in accounts.items() if account.held)
        if held is None:
            return None, []
        return {name: account.cursor for name, account in accounts.items()}, held

    def _accounts(self, event_log: SqliteLog) -> dict[str, Account] | None:
        """The accounts of all enabled destinations; None when a store cannot be read: what it needs is not known."""
        registered = self._registered()
        accounts = read_accounts(self._data_dir, registered, head=event_log.head())
        return None if len(accounts) < len(registered) else accounts

    def _oldest_held(self, names: Iterable[str]) -> list[Offset] | None:
        """The first event that each of these destinations holds; None when a store does not say it."""
        found: list[Offset] = []
        for name in names:
            known = False
            with self._spoilt.minding(name):
                found += self._first_held(name)
                known = True
            if not known:
                return None
        return found

    def _first_held(self, name: str) -> list[Offset]:
        store = self._open_store(name)
        try:
            oldest = store.held.oldest()
        finally:
            store.close()
        return [] if oldest is None else [oldest.offset]
