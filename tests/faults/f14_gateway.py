"""Fill a small disk through the gateway, make room, and go on; run by test_f14_disk_full.py."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from sluicegate.config.model import LogConfig
from tests.faults.small_disk import SmallDisk

PATIENCE_S = 30.0


def scenario(folder: Path, log: LogConfig) -> dict[str, Any]:
    """Post until refused, and some more; free the ballast; post until taken."""
    folder.mkdir()
    disk = SmallDisk(folder, log)
    try:
        found = fill_and_free(disk)
    finally:
        end = disk.close()
        shutil.rmtree(folder)
    return {**found, **end}


def fill_and_free(disk: SmallDisk) -> dict[str, Any]:
    """The answers on the way."""
    while (refused := disk.post()).status == 200:
        pass
    more = [disk.post().status for _ in range(5)]
    not_ready = disk.ready()
    disk.free()
    freed_at = time.monotonic()
    while (again := disk.post().status) != 200 and time.monotonic() < freed_at + PATIENCE_S:
        time.sleep(0.1)
    return {
        "refused": [refused.status, refused.json["code"], refused.headers["retry-after"]],
        "more": more,
        "ready": [not_ready.status, not_ready.body.decode()],
        "again": again,
        "recovered_s": time.monotonic() - freed_at,
    }


if __name__ == "__main__":
    root = Path(sys.argv[1])
    found = {
        "low": scenario(root / "low", LogConfig(min_free_bytes=16 * 1024 * 1024, min_free_percent=5)),
    }
    found["full"] = scenario(root / "full", LogConfig(min_free_bytes=0, min_free_percent=0))
    print(json.dumps(found))
