"""A process that appends one event after the other to a log on a bad disk, and says what is stored.

    python -m tests.faults.appending DISK PATH SYNCHRONOUS N_EVENTS

DISK is "cutting" or the folder of a `CommandedDisk`. Each line is the offset of an event that was stored. When it has
stored so many it kills itself; damage ends it with 1.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from sluicegate.errors import LogDamaged, LogUnavailable
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import batch_of
from sluicegate.testing.commanded_disk import CommandedDisk
from sluicegate.testing.cutting_disk import CuttingDisk
from tests.faults.flipping import event_at


def main(disk_name: str, path: str, synchronous: str, n_events: str) -> None:
    disk = CuttingDisk() if disk_name == "cutting" else CommandedDisk(Path(disk_name))
    log = SqliteLog(Path(path))
    log._db.pragma("synchronous", synchronous)
    head = log.head()
    while head < int(n_events):
        try:
            (head,) = log.append([batch_of([event_at(head + 1)])], received_at_ms=1)
        except LogUnavailable as error:
            print(f"refused: {error}", flush=True)
            continue
        except LogDamaged as error:
            print(f"damaged: {error}", flush=True)
            sys.exit(1)
        print(head, flush=True)
        if log.needs_maintenance:
            log.maintain()
    os.kill(os.getpid(), signal.SIGKILL)
    del disk


if __name__ == "__main__":
    main(*sys.argv[1:])
