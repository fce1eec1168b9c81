from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from tests.eventlog.test_seen import batch, ids

HOUR_MS = 3_600_000
START_MS = 1_795_453_200_000
JUMPS = {
    "an hour ahead": [HOUR_MS],
    "an hour back": [-HOUR_MS],
    "ahead and back": [HOUR_MS, 0, -HOUR_MS, 0],
    "to and fro by seconds": [5_000, -5_000] * 50,
}


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("restarts", [False, True])
def test_jumps_of_the_clock_neither_empty_the_window_nor_keep_it(
    tmp_path: Path, jumps: list[int], restarts: bool
) -> None:
    def open_log() -> SqliteLog:
        return SqliteLog(tmp_path / "events.db", seen=SeenIds(window_s=86_400, max_ids=1_000))

    log = open_log()
    log.append([batch("a")], received_at_ms=START_MS)
    for number, jump in enumerate(jumps):
        log.append([batch(f"during {number}")], received_at_ms=START_MS + jump)
        if restarts:
            log.maintain()
            log.close()
            log = open_log()

    log.append([batch("a", "during 0")], received_at_ms=START_MS + 20 * HOUR_MS)
    within = ids(log).count("a")
    log.append([batch("a", "during 0")], received_at_ms=START_MS + 26 * HOUR_MS)

    assert within == 1
    assert (ids(log).count("a"), ids(log).count("during 0")) == (2, 2)
    log.close()
