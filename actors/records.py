"""What the supervisor keeps on disk; every call opens, uses and closes, because forked children copy what is open."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sluicegate.accounts import Account, read_accounts
from sluicegate.delivery.versions import StoreVersion, store_version
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.paths import DataDir
from sluicegate.registry import Registration, Registry


@dataclass(frozen=True, slots=True)
class Records:
    """The registrations of the configured destinations, as they were at the start, and where they are kept.

    Opening a store takes a few tenths of a millisecond, and a thousand may be registered: what was read is used again
    as long as the files have not changed.
    """

    data_dir: DataDir
    registered: Mapping[str, Registration]
    _read: dict[str, tuple[StoreVersion, Account]] = field(default_factory=dict, repr=False)

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

    def accounts(self, ids: Iterable[str], *, head: Offset) -> dict[str, Account]:
        """Their accounts, when the log ends at `head`; one whose store cannot be read is left out."""
        at_ns = time.time_ns()
        versions = {id: store_version(self.data_dir.store(id)) for id in ids if id in self.registered}
        changed = {id for id, version in versions.items() if id not in self._read or self._read[id][0] != version}
        accounts = {id: _at(self._read[id][1], head) for id in versions.keys() - changed}
        for id, account in read_accounts(self.data_dir, {id: self.registered[id] for id in changed}, head=head).items():
            accounts[id] = account
            if versions[id].settled(at_ns):
                self._read[id] = versions[id], account
        return accounts

    def epochs(self, ids: Iterable[str]) -> dict[str, int]:
        """The greatest epoch that was claimed in the stores of these destinations, 0 for none."""
        return {id: account.epoch for id, account in self.accounts(ids, head=0).items()}

    def remember_pause(self, id: str, reason: str | None) -> None:
        """Keep over restarts that a destination is paused, or with None that it is not."""
        registry = Registry(self.data_dir.control, create=False)
        try:
            registry.set_paused(id, reason)
        finally:
            registry.close()


def _at(account: Account, head: Offset) -> Account:
    """The same account when the log ends elsewhere."""
    more = max(head, account.cursor) - (account.cursor + account.pending)
    return replace(account, accepted=account.accepted + more, pending=account.pending + more) if more else account
