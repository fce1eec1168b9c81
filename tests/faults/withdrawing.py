"""A process that writes one withdrawal after the other to a ledger on a bad disk, and says which are in force.

    python -m tests.faults.withdrawing DISK FOLDER SYNCHRONOUS N_SUBJECTS

DISK is "cutting" or the folder of a `CommandedDisk`. Each line is the number of a subject whose consent was taken back.
When it has written so many it kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from sluicegate.consent.evidence import Evidence, Told, decision
from sluicegate.consent.ledger import Ledger
from sluicegate.consent.subject import Subject
from sluicegate.testing.commanded_disk import CommandedDisk
from sluicegate.testing.cutting_disk import CuttingDisk

DATABASE, KEY = "consent.db", "consent.key"
AT_MS = 1_700_000_000_000


def main(disk_name: str, folder: str, synchronous: str, n_subjects: str) -> None:
    disk = CuttingDisk() if disk_name == "cutting" else CommandedDisk(Path(disk_name), DATABASE)
    ledger = Ledger(Path(folder) / DATABASE, Path(folder) / KEY, purposes=["measurement"])
    ledger.db.pragma("synchronous", synchronous)
    for number in range(int(n_subjects)):
        writes = decision({"measurement": False}, AT_MS, received_ms=AT_MS)
        ledger.record([Told(Subject(anonymous_id=f"v{number}"), writes, Evidence.API)], now_ms=AT_MS)
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    del disk


if __name__ == "__main__":
    main(*sys.argv[1:])
