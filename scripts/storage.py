"""Before anything starts: the files a configuration needs exist, fit this version, and know their destinations."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from sluicegate.accounts import check_cursors
from sluicegate.config import Config
from sluicegate.consent.ledger import Ledger
from sluicegate.errors import LogDamaged, SluicegateError
from sluicegate.eventlog.bell import rung
from sluicegate.eventlog.starting import check_end
from sluicegate.paths import DataDir
from sluicegate.registry import open_data


class DirectoryRefused(SluicegateError):
    """The data directory cannot be used by this user."""


def prepare_directory(data_dir: DataDir) -> None:
    """Make the data directory; raises `DirectoryRefused` when it is not ours or cannot be written to."""
    root = data_dir.root
    try:
        found = root.stat()
        owner, is_shared = found.st_uid, bool(found.st_mode & stat.S_ISVTX)
    except FileNotFoundError:
        owner, is_shared = os.geteuid(), False
    except OSError as error:
        raise DirectoryRefused(
            f"the data directory cannot be used: {root}: {error.strerror}; choose another one with --data-dir"
        ) from error
    if is_shared:  # as /tmp is, and would not be any more with the mode that a data directory gets
        raise DirectoryRefused(f"{root} is shared by all users; choose a directory below it with --data-dir")
    if owner != os.geteuid():
        raise DirectoryRefused(
            f"{root} belongs to {_name(owner)} and this is {_name(os.geteuid())}; "
            f"run as {_name(owner)}, or choose another directory with --data-dir"
        )
    try:
        data_dir.create()
        (root / ".writable").touch(mode=0o600)
        (root / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise DirectoryRefused(
            f"{root} cannot be written to: {error.strerror}; mount it writable, or choose another with --data-dir"
        ) from error


def prepare_storage(config: Config, data_dir: DataDir) -> None:
    """Create or check the event log and the consent ledger, and register the enabled destinations at its head.

    Raises `LogDamaged` when a log or ledger that existed is missing or cannot be read, or a log has lost its end or
    is older than what was read from it.
    """
    if data_dir.event_log.exists():
        check_end(data_dir.event_log, acknowledged=rung(data_dir.bell))
    else:
        _check_new(data_dir)
    registry, log = open_data(data_dir)
    try:
        enabled = [destination.id for destination in config.destinations.values() if destination.enabled]
        check_cursors(data_dir, registry.register(enabled, head=log.head()), head=log.head())
    finally:
        log.close()
        registry.close()
    purposes, policy = config.purposes.stored, config.consent.require_policy
    Ledger(data_dir.consent, data_dir.consent_key, purposes=purposes, policy=policy).close()
    data_dir.bell.touch(mode=0o600)


def _check_new(data_dir: DataDir) -> None:
    """A directory without a log must not have anything that comes from one."""
    stores = [path for path in _files(data_dir.stores) if path.suffix == ".db"]
    traces = [*stores, *[path for path in (data_dir.quarantine,) if path.exists()]]
    if traces or rung(data_dir.bell):
        trace = traces[0].relative_to(data_dir.root) if traces else data_dir.bell.name
        raise LogDamaged(
            f"{data_dir.event_log}: is missing, but {trace} shows that there was one; "
            "restore it from a backup, or choose an empty data directory"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"user {uid}"
