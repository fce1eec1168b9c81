"""What deduplication costs: CPU per event, memory, disk and load time per million ids.

    python benchmarks/dedup.py [--ids 1000000]

The CPU is that of claiming and keeping ids in memory, for batches of 100 and of one, with so many ids known already.
Then the log takes events in turn with the window and without it: what both need, and what of that is the window's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from array import array
from pathlib import Path

from sluicegate.event import EventBatch
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.splitset import Hashes
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import add_event

REPEATS = 9
STEP = 8_192


def batches(n_batches: int, n_events: int) -> list[EventBatch]:
    """Batches of events with new ids."""
    made = [EventBatch() for _ in range(n_batches)]
    for batch in made:
        for _ in range(n_events):
            add_event(batch, b"{}", message_id=str(uuid.uuid4()))
    return made


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def filled(log: SqliteLog, seen: SeenIds, n_ids: int) -> None:
    """Have it know so many random ids, each in its place, and save them."""
    for _ in range(n_ids // STEP):
        seen.head += STEP
        seen._window.add(Hashes(array("Q", os.urandom(8 * STEP))), 1, last=seen.head)
        seen.release(seen.claim(batches(1, 100), 1))
    seen.save(log._db)


def cpu_us(seen: SeenIds, n_events: int) -> list[float]:
    """CPU per event of claiming and keeping, sorted."""
    figures = []
    for _ in range(REPEATS):
        work = batches(20_000 // n_events // 4, n_events)
        began = time.process_time()
        for batch in work:
            with seen.lock:
                seen.keep(seen.claim([batch], 2))
        figures.append((time.process_time() - began) / len(work) / n_events * 1e6)
    return sorted(figures)


def append_us(log: SqliteLog, work: list[EventBatch]) -> float:
    """CPU per event of appending."""
    began = time.process_time()
    for batch in work:
        log.append([batch], received_at_ms=1)
    return (time.process_time() - began) / len(work) / len(work[0]) * 1e6


def on_and_off(folder: Path, n_ids: int, n_events: int) -> None:
    """The same events into a log with a window that knows so many ids, and into one without, in turn."""
    seen = SeenIds(window_s=86_400, max_ids=4 * n_ids)
    logs = SqliteLog(folder / f"with-{n_events}.db", seen=seen), SqliteLog(folder / f"without-{n_events}.db")
    logs[0].load_seen(now_ms=1)
    for _ in range(n_ids // STEP):
        seen._window.add(Hashes(array("Q", os.urandom(8 * STEP))), 1, last=0)
    figures: tuple[list[float], list[float]] = [], []
    for _ in range(REPEATS):
        work = batches(4_000 if n_events == 1 else 200, n_events)
        for log, found in zip(logs, figures, strict=True):
            log._db.pragma("synchronous", "OFF")
            found.append(append_us(log, work))
    with_us, without_us = map(statistics.median, figures)
    print(
        f"log, {n_events} at a time: {with_us:.2f} us/event ({1e6 / with_us:,.0f} events/s of a core) with the window, "
        f"{without_us:.2f} us ({1e6 / without_us:,.0f}) without: {with_us - without_us:+.2f} us, "
        f"{with_us / without_us - 1:+.1%}"
    )
    for log in logs:
        log.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=1_000_000)
    n_ids = parser.parse_args().ids
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        log, seen = SqliteLog(path), SeenIds(window_s=86_400, max_ids=4 * n_ids)
        seen.load(log._db, head=0, now_ms=1)
        empty = cpu_us(seen, 100)
        before = resident_bytes()
        filled(log, seen, n_ids)
        memory = resident_bytes() - before
        for name, figures in (
            ("100 at a time, few ids known", empty),
            (f"100 at a time, {n_ids} known", cpu_us(seen, 100)),
            (f"single, {n_ids} known", cpu_us(seen, 1)),
        ):
            print(f"{name:32} {statistics.median(figures):6.2f} us/event, best {figures[0]:.2f}")
        log.maintain()
        again = SeenIds(window_s=86_400, max_ids=4 * n_ids)
        began = time.perf_counter()
        again.load(log._db, head=seen.head, now_ms=1)
        load_s = time.perf_counter() - began
        again.claim(batches(1, 100), 1)  # which needs all parts
        ask_s = time.perf_counter() - began - load_s
        size = path.stat().st_size
        log.close()
        for n_events in (100, 1):
            on_and_off(Path(folder), n_ids, n_events)
    per = 1e6 / n_ids
    print(
        f"a million ids: {memory * per / 1e6:.0f} MB of memory, {size * per / 1e6:.1f} MB of disk,"
        f" {load_s * per:.2f} s to load, {ask_s * per:.2f} s for the first batch then"
    )


if __name__ == "__main__":
    main()
