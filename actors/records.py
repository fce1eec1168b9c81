"""What the supervisor keeps on disk; every call opens, uses and closes, because forked children copy what is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluicegate.accounts import read_accounts
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registration, Registry


@dataclass(frozen=True, slots=True)
class Records:
    """The registrations of the configured destinations, as they were at the start, and where they are kept."""

    data_dir: DataDir
    registered: Mapping[str, Registration]

    @classmethod
    def open(cls, data_dir: DataDir, ids: Iterable[str]) -> Records:
        """Register these destinations if they are new; raises `LogError` when the data directory is damaged."""
        log = SqliteLog(data_dir.event_log, create=False)
        try:
            head = log.head()
        finally:
            log.close()
        registry = Registry(data_dir.control, create=False)
        try:
            return cls(data_dir, registry.register(ids, head=head))
        finally:
            registry.close()

    def epochs(self, ids: Iterable[str]) -> dict[str, int]:
        """The greatest epoch that was claimed in the stores of these destinations, 0 for none."""
        known = {id: self.registered[id] for id in ids if id in self.registered}
        return {id: account.epoch for id, account in read_accounts(self.data_dir, known, head=0).items()}

    def remember_pause(self, id: str, reason: str | None) -> None:
        """Keep over restarts that a destination is paused, or with None that it is not."""
        registry = Registry(self.data_dir.control, create=False)
        try:
            registry.set_paused(id, reason)
        finally:
            registry.close()
