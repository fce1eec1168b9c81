"""A whole system that fills a small disk and gets out of it by delivering; run by test_f14_disk_full.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.end_to_end.harness import WRITE_KEY, System
from tests.faults.small_disk import noise

DESTINATION = """
[log]
min_free = "24MiB"
[destinations.sink]
type = "null"
requires = ["necessary"]
"""
PATIENCE_S = 40.0


def main(folder: Path) -> None:
    """Post until refused, then until taken again."""
    system = System(folder, DESTINATION).start()
    try:
        statuses: list[int] = []
        n_taken = 0

        def post() -> int:
            events = [
                {"type": "track", "event": "e", "userId": "u", "properties": {"p": noise(30_000)}} for _ in range(16)
            ]
            body = json.dumps({"batch": events}).encode()
            statuses.append(system.request("POST", f"/v1/batch?writeKey={WRITE_KEY}", body)[0])
            return statuses[-1]

        while post() == 200:
            n_taken += 1
        refused_at = time.monotonic()
        while (again := post()) != 200 and time.monotonic() < refused_at + PATIENCE_S:
            time.sleep(0.2)
        took_s = time.monotonic() - refused_at
        status = system.until_delivered("sink", 16 * (n_taken + 1))
        others = sorted(set(statuses) - {200})
        print(
            json.dumps(
                {"again": again, "took_s": took_s, "others": others, "expired": status.expired, "taken": n_taken}
            )
        )
    finally:
        system.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
