"""Where everything lies in a data directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_SQLITE_ENDINGS = frozenset({"wal", "shm", "journal"})


@dataclass(frozen=True, slots=True)
class DataDir:
    """The layout below one data directory; only `create` touches the disk."""

    root: Path

    def create(self) -> None:
        """Make the directory and its folders, readable by the owner alone."""
        for folder in (self.root, self.stores, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(folder, 0o700)

    @property
    def actor_key(self) -> Path:
        """The key of the actor transport."""
        return self.root / "actor.key"

    @property
    def lock(self) -> Path:
        """Locked by the running launcher."""
        return self.root / "serve.lock"

    @property
    def running(self) -> Path:
        """What the running launcher listens on, as JSON."""
        return self.root / "serve.json"

    @property
    def write_key(self) -> Path:
        """The generated write key of a system that runs without a configuration file; mode 0600."""
        return self.root / "write-key"

    @property
    def event_log(self) -> Path:
        """The event log."""
        return self.root / "events.db"

    @property
    def control(self) -> Path:
        """Registered destinations and their pauses."""
        return self.root / "control.db"

    @property
    def quarantine(self) -> Path:
        """What was found damaged in the event log; only there when something was."""
        return self.root / "quarantine.db"

    @property
    def consent(self) -> Path:
        """The consent ledger."""
        return self.root / "consent.db"

    @property
    def consent_key(self) -> Path:
        """The key by which the ledger knows its subjects; the ledger is worth nothing without it."""
        return self.root / "consent.key"

    @property
    def erasing(self) -> Path:
        """Locked by the process that erases subjects from the files."""
        return self.root / "erasing.lock"

    @property
    def suppressed(self) -> Path:
        """How many events of suppressed people were left out; only there when any were."""
        return self.root / "suppressed"

    @property
    def bell(self) -> Path:
        """Touched at every append to the log."""
        return self.root / "bell"

    @property
    def stores(self) -> Path:
        """Folder of the destinations' stores."""
        return self.root / "destinations"

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.root / "logs"

    def owns(self, path: Path) -> bool:
        """Whether an absolute path is that of one of these files, of what SQLite keeps beside it, or in a folder."""
        plain = (self.actor_key, self.lock, self.running, self.write_key, self.consent_key, self.erasing)
        files = {*plain, self.suppressed, self.bell, self.event_log, self.control, self.quarantine, self.consent}
        name, sep, ending = path.name.rpartition("-")
        database = path.with_name(name) if sep and ending in _SQLITE_ENDINGS else path
        return database in files or not {self.stores, self.logs}.isdisjoint((path, *path.parents))

    def store(self, destination_id: str) -> Path:
        """The store of one destination; ids are checked by the configuration, so they are safe as names."""
        return self.stores / f"{destination_id}.db"

    def presence(self, destination_id: str) -> Path:
        """Locked by the process that writes into that store."""
        return self.stores / f"{destination_id}.lock"
