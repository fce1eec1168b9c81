"""What the supervisor keeps on disk; every call opens, uses and closes, because forked children copy what is open."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sluicegate.accounts import Account, read_accounts, refused_config
from sluicegate.config.model import DestinationConfig, config_hash
from sluicegate.delivery.versions import StoreVersion, store_version
from sluicegate.errors import LogError
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.loading.pauses import is_refused, without_refusal
from sluicegate.paths import DataDir
from sluicegate.registry import Registration, Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Records:
    """The registrations of the configured destinations, as they were at the start, and where they are kept.

    Opening a store takes a few tenths of a millisecond, and a thousand may be registered: what was read is used again
    as long as the files have not changed.
    """

    data_dir: DataDir
    registered: Mapping[str, Registration]
    removed: Mapping[str, Registration] = field(default_factory=dict)
    """Of destinations that were registered once, and are not any more."""
    _read: dict[str, tuple[StoreVersion, Account]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, data_dir: DataDir, destinations: Iterable[DestinationConfig]) -> Records:
        """Register these destinations if they are new; raises `LogError` when the data directory is damaged.

        A vendor's refusal ends here when it was that of another configuration than this one. So does the pause then,
        unless an operator has paused the destination too.
        """
        configured = {one.id: one for one in destinations}
        events = SqliteLog(data_dir.event_log, create=False)
        try:
            head = events.head()
        finally:
            events.close()
        registry = Registry(data_dir.control, create=False)
        try:
            registered = registry.register(configured, head=head)
            removed = {id: one for id, one in registry.all().items() if id not in configured}
            for id, registration in registered.items():
                reason = registration.paused_reason
                if reason is not None and is_refused(reason):
                    refused = _refused_config(data_dir.store(id))
                    if refused is not None and refused != config_hash(configured[id]):
                        left = without_refusal(reason)
                        log.info("%s: %s, because its configuration has changed", id, _ended(left))
                        registry.set_paused(id, left)
                        registered[id] = registry.all()[id]
            return cls(data_dir, registered, removed)
        finally:
            registry.close()

    def accounts(self, ids: Iterable[str], *, head: Offset) -> dict[str, Account]:
        """Their accounts, when the log ends at `head`; one whose store cannot be read is left out."""
        at_ns = time.time_ns()
        known = {**self.registered, **self.removed}
        versions = {id: store_version(self.data_dir.store(id)) for id in ids if id in known}
        changed = {id for id, version in versions.items() if id not in self._read or self._read[id][0] != version}
        accounts = {id: _at(self._read[id][1], head) for id in versions.keys() - changed}
        for id, account in read_accounts(self.data_dir, {id: known[id] for id in changed}, head=head).items():
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


def _ended(left: str | None) -> str:
    return "resumed" if left is None else "its vendor may be asked again once it is resumed"


def _refused_config(store: Path) -> str | None:
    try:
        return refused_config(store)
    except LogError as error:
        log.warning("%s", error)  # that of one destination must not keep the others from starting
        return None


def _at(account: Account, head: Offset) -> Account:
    """The same account when the log ends elsewhere."""
    more = max(head, account.cursor) - (account.cursor + account.pending)
    return replace(account, accepted=account.accepted + more, pending=account.pending + more) if more else account
