"""How fast the event log takes events through group commit, from an event loop as the gateway has one.

python benchmarks/log_commit.py [--seconds 3] [--switch-us 5000]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import uvloop

from sluicegate.event import EventBatch
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.eventlog.writer import GroupCommit
from sluicegate.testing.batches import batch_of

EVENT = b'{"type":"track","event":"Order Completed","properties":{' + b'"property":"a value here",' * 18 + b'"last":1}}'


class Load:
    """`concurrency` clients that each submit a batch, wait until it is on disk, and begin again."""

    def __init__(self, folder: Path, *, batch_size: int, concurrency: int) -> None:
        self.batch = batch_of([EVENT] * batch_size)
        self.concurrency = concurrency
        self.loop = asyncio.get_running_loop()
        self.latencies_s: list[float] = []
        self.n_commits = 0
        self.writer: GroupCommit[asyncio.Future[int]] = GroupCommit(
            partial(SqliteLog, folder / "events.db"),
            on_committed=self._committed,
            on_failed=lambda tokens, error: sys.exit(str(error)),
            on_fatal=lambda error: sys.exit(str(error)),
            bell=Bell(folder / "bell"),
        )

    def _committed(self, done: list[tuple[asyncio.Future[int], int]], n_left_out: int) -> None:
        self.loop.call_soon_threadsafe(self._answer, done)

    def _answer(self, done: list[tuple[asyncio.Future[int], int]]) -> None:
        self.n_commits += 1
        for future, offset in done:
            future.set_result(offset)

    async def _client(self, until: float) -> None:
        while (start := time.perf_counter()) < until:
            future = self.loop.create_future()
            if not self.writer.submit(self.batch, future):
                raise RuntimeError("refused")
            await future
            self.latencies_s.append(time.perf_counter() - start)

    async def run(self, seconds: float) -> None:
        self.writer.start()
        cpu_s, start = time.process_time(), time.perf_counter()
        await asyncio.gather(*(self._client(start + seconds) for _ in range(self.concurrency)))
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
        self.writer.close(10)
        self._report(wall_s, cpu_s)

    def _report(self, wall_s: float, cpu_s: float) -> None:
        ordered = sorted(self.latencies_s)
        n_events = len(ordered) * len(self.batch)
        print(
            f"{self.concurrency:3} clients x {len(self.batch):4}: {n_events / wall_s:9,.0f} events/s "
            f"{cpu_s / n_events * 1e6:6.2f} us CPU/event  {self.n_commits / wall_s:6,.0f} commits/s "
            f"p50 {ordered[len(ordered) // 2] * 1e3:6.2f} ms  p99 {ordered[len(ordered) * 99 // 100] * 1e3:6.2f} ms"
        )


def straight(folder: Path, *, batch_size: int, seconds: float) -> None:
    """The same appends without a thread: what the log itself costs."""
    log = SqliteLog(folder / "straight.db")
    batch: EventBatch = batch_of([EVENT] * batch_size)
    n = 0
    cpu_s, start = time.process_time(), time.perf_counter()
    while time.perf_counter() < start + seconds:
        log.append([batch], received_at_ms=n)
        n += 1
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
    log.close()
    print(f"append alone x {batch_size:4}: {wall_s / n * 1e6:.0f} us, {cpu_s / n * 1e6:.0f} us CPU per commit")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--switch-us", type=float, default=5_000, help="sys.setswitchinterval")
    arguments = parser.parse_args()
    sys.setswitchinterval(arguments.switch_us / 1e6)

    async def load(folder: Path, batch_size: int, concurrency: int) -> None:
        await Load(folder, batch_size=batch_size, concurrency=concurrency).run(arguments.seconds)

    for batch_size, concurrency in ((1, 1), (1, 8), (1, 64), (100, 8)):
        with tempfile.TemporaryDirectory() as folder:
            straight(Path(folder), batch_size=batch_size, seconds=arguments.seconds / 3)
            uvloop.run(load(Path(folder), batch_size, concurrency))


if __name__ == "__main__":
    main()
