"""A data directory to check and to repair, and ways to spoil it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw

from sluicegate.delivery.held import HoldBounds, Holds
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.settlement import HeldRow
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo
from sluicegate.eventlog.bell import Bell
from sluicegate.fsck.check import check
from sluicegate.fsck.findings import Finding
from sluicegate.paths import DataDir
from sluicegate.proof import verify
from sluicegate.registry import open_data
from tests.faults.flipping import build

N_EVENTS = 80
PAGE_BYTES = 4_096
"""Of the stores and the ledger."""


def checked_dir(root: Path) -> DataDir:
    """A data directory of a system that was stopped, with a log of `N_EVENTS` and one destination."""
    data_dir = DataDir(root)
    data_dir.create()
    registry, log = open_data(data_dir)
    registry.register(["crm"], head=0)
    registry.close()
    log.close()
    build(data_dir.event_log, N_EVENTS)
    Bell(data_dir.bell).ring(N_EVENTS)
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    store.claim(1)
    store.commit(1, cursor=20, delivered=17, denied={"no consent": 2}, dead_letters=[letter(9)])
    store.close()
    return data_dir


def letter(offset: int) -> DeadLetter:
    return DeadLetter(offset, f"m-{offset}", Combo("track", "web"), b"{}", "refused", 1, 1, 1, 1)


def fsck(data_dir: DataDir, *options: str) -> subprocess.CompletedProcess[str]:
    """The command."""
    command = [sys.executable, "-m", "sluicegate.scripts.admin", "fsck", "--data-dir", str(data_dir.root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"})


def repaired(data_dir: DataDir) -> list[Finding]:
    return check(data_dir, repair=True, progress=lambda *_: None)


def spoil(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()


def proof_of(data_dir: DataDir) -> tuple[str | None, dict[str, int], int]:
    """What the proof of the one destination says: a fault, how events ended, how many are held."""
    (one,) = verify(data_dir, head=N_EVENTS)
    return one.fault, dict(one.decided), one.held


def held_from(data_dir: DataDir, *offsets: int) -> None:
    held = [HeldRow(offset, 7, None, 1) for offset in offsets]
    store = DestinationStore.open(data_dir.store("crm"), start=0)
    terms = Holds(held, 0, "", HoldBounds(100, 100))
    store.commit(1, cursor=20 + len(held), held=terms)
    store.close()


def clear_page(path: Path, number: int, *, n_bytes: int = PAGE_BYTES) -> None:
    """Make zeros of a page of a database, counted from 1 as SQLite does."""
    with path.open("r+b") as file:
        file.seek((number - 1) * n_bytes)
        file.write(bytes(n_bytes))
