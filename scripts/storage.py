"""Before anything starts: the files a configuration needs exist, fit this version, and know their destinations."""

from __future__ import annotations

from sluicegate.accounts import check_cursors
from sluicegate.config import Config
from sluicegate.consent.ledger import Ledger
from sluicegate.paths import DataDir
from sluicegate.registry import open_data


def prepare_storage(config: Config, data_dir: DataDir) -> None:
    """Create or check the event log and the consent ledger, and register the enabled destinations at its head.

    Raises `LogDamaged` when a log or ledger that existed is missing, cannot be read, or a log is older than what was
    read from it.
    """
    registry, log = open_data(data_dir)
    try:
        enabled = [destination.id for destination in config.destinations.values() if destination.enabled]
        check_cursors(data_dir, registry.register(enabled, head=log.head()), head=log.head())
    finally:
        log.close()
        registry.close()
    Ledger(data_dir.consent, data_dir.consent_key, purposes=config.purposes.known).close()
    data_dir.bell.touch(mode=0o600)
