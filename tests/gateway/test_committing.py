from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import pytest

from sluicegate.errors import LogError, LogUnavailable
from sluicegate.event import EventBatch
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.bell import Bell
from sluicegate.eventlog.memory import MemoryLog
from sluicegate.gateway.committing import TRIAL_COMMITS, LoopCommit
from sluicegate.testing.batches import batch_of


class Disk(MemoryLog):
    """Remembers which thread appended, and how much; takes as long as it is told, and fails when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.error: LogError | None = None
        self.commits: list[tuple[bool, int]] = []

    def append(self, batches: Sequence[EventBatch], *, received_at_ms: int) -> list[Offset]:
        time.sleep(self.delay_s)
        in_loop = threading.current_thread() is threading.main_thread()
        self.commits.append((in_loop, len(batches)))
        if self.error is not None:
            raise self.error
        return super().append(batches, received_at_ms=received_at_ms)

    def opened(self) -> Disk:
        return self

    def close(self) -> None:
        pass


class DueDisk(Disk):
    """Its housekeeping is due when it is told, and can be begun unless `is_closed_to_more`."""

    is_due = is_closed_to_more = False
    n_refused = n_maintained = 0

    @property
    def needs_maintenance(self) -> bool:
        return self.is_due

    def opened(self) -> Disk:
        if self.is_closed_to_more:
            self.n_refused += 1
            raise LogUnavailable("unable to open database file")
        return self

    def maintain(self) -> None:
        self.n_maintained += 1


class Gate:
    """A `LoopCommit` on a disk, and a way to store something and wait for it."""

    def __init__(self, disk: Disk, folder: Path, *, on_gathered: Callable[[], None] = lambda: None) -> None:
        self._disk = disk
        self._stored: dict[int, asyncio.Future[Offset]] = {}
        self._bell = Bell(folder / "bell")
        self.fatal: list[LogError] = []
        self.commit: LoopCommit[int] = LoopCommit(
            disk.opened,
            on_committed=self._committed,
            on_failed=self._failed,
            on_fatal=self.fatal.append,
            bell=self._bell,
            on_gathered=on_gathered,
        )

    def _committed(self, done: list[tuple[int, Offset]], n_left_out: int) -> None:
        for token, offset in done:
            self._stored[token].set_result(offset)

    def _failed(self, tokens: list[int], error: LogError) -> None:
        for token in tokens:
            self._stored[token].set_exception(error)

    def expect(self, number: int) -> int:
        self._stored[number] = asyncio.get_running_loop().create_future()
        return number

    async def store(self, *numbers: int) -> list[Offset]:
        for number in numbers:
            assert self.commit.submit(batch_of([b"{}"]), self.expect(number))
        return [await self._stored[number] for number in numbers]

    async def start_in_loop(self) -> int:
        """Store one after the other until the loop commits; the last number."""
        await self.commit.start()
        number = 0
        while not any(where for where, _ in self._disk.commits):
            await self.store(number := number + 1)
        return number

    async def close(self) -> None:
        assert await self.commit.close(10.0)
        self._bell.close()


def test_fast_disk_is_committed_to_in_the_loop_and_a_slow_one_in_the_thread(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.start_in_loop()
        disk.delay_s = 0.1
        for number in range(-3, 0):
            await gate.store(number)
        await gate.close()

    asyncio.run(use())

    in_loop = [where for where, _ in disk.commits]
    assert in_loop[:TRIAL_COMMITS] == [False] * TRIAL_COMMITS
    assert in_loop.count(True) >= 1
    assert in_loop[-1] is False


def test_loop_stands_still_only_once_for_commits_that_wait_in_vain(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.start_in_loop()
        disk.commits.clear()
        disk.delay_s, disk.error = 0.1, LogUnavailable("is locked by another process")
        for number in range(-3, 0):
            with pytest.raises(LogUnavailable):
                await gate.store(number)
        await gate.close()

    asyncio.run(use())

    assert [where for where, _ in disk.commits[1:]] == [False, False]


def test_slow_disk_does_not_count_as_fast_for_failing_at_once(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.commit.start()
        disk.delay_s = 0.03
        for number in range(TRIAL_COMMITS):
            await gate.store(number)
        disk.delay_s, disk.error = 0.0, LogUnavailable("the disk is full")
        for number in range(-30, 0):
            with pytest.raises(LogUnavailable):
                await gate.store(number)
        await gate.close()

    asyncio.run(use())

    assert not any(where for where, _ in disk.commits)


def test_housekeeping_that_cannot_be_begun_is_tried_again_after_the_next_commit(tmp_path: Path) -> None:
    disk = DueDisk()

    async def use() -> list[LogError]:
        gate = Gate(disk, tmp_path)
        number = await gate.start_in_loop()
        disk.is_due = disk.is_closed_to_more = True
        while not disk.n_refused:
            await gate.store(number := number + 1)
        disk.is_closed_to_more = False
        while not disk.n_maintained:
            await gate.store(number := number + 1)
        await gate.close()
        return gate.fatal

    assert asyncio.run(asyncio.wait_for(use(), 10.0)) == []


def test_commits_go_on_when_no_thread_can_be_started_for_housekeeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.gateway.committing.MAX_COMMIT_BYTES", 1)  # a commit for each
    disk = DueDisk()

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        number = await gate.start_in_loop()
        disk.is_due = True
        with mock.patch.object(asyncio.get_running_loop(), "run_in_executor", refuse):
            await gate.store(-1, -2)
        while not disk.n_maintained:
            await gate.store(number := number + 1)
        await gate.close()

    asyncio.run(asyncio.wait_for(use(), 10.0))


def test_everything_handed_over_in_one_turn_of_the_loop_is_one_commit(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> list[Offset]:
        gate = Gate(disk, tmp_path)
        await gate.commit.start()
        for number in range(TRIAL_COMMITS):
            await gate.store(number)
        offsets = await gate.store(*range(50, 70))
        await gate.close()
        return offsets

    offsets = asyncio.run(use())

    assert disk.commits[-1][1] == 20
    assert offsets == list(range(TRIAL_COMMITS + 1, TRIAL_COMMITS + 21))


def test_requests_that_follow_a_common_answer_share_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.gateway.company.FIRST", 1e6)
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.start_in_loop()
        await gate.store(*range(100, 104))
        first = asyncio.create_task(gate.store(200, 201))
        for _ in range(5):
            await asyncio.sleep(0)
        await gate.store(202, 203)
        await first
        await gate.close()

    asyncio.run(use())

    assert [n_batches for _, n_batches in disk.commits[-2:]] == [4, 4]


def test_commit_waits_no_longer_than_its_patience_for_clients_that_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.gateway.company.FIRST", 0.0)
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.commit.start()
        await gate.store(*range(4))
        await gate.store(5)
        await gate.close()

    asyncio.run(use())

    assert disk.head() == 5


def test_closing_stores_what_was_handed_over(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path)
        await gate.commit.start()
        waiting = asyncio.create_task(gate.store(1, 2, 3))
        await asyncio.sleep(0)
        await gate.close()
        await waiting
        assert not gate.commit.submit(batch_of([b"{}"]), 9)

    asyncio.run(use())

    assert disk.head() == 3


def test_announced_requests_are_brought_in_before_the_commit_that_they_are_counted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.gateway.company.FIRST", 1e6)
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path, on_gathered=lambda: bring_in())

        def bring_in() -> None:
            assert gate.commit.submit(batch_of([b"{}"]), gate.expect(200))

        await gate.start_in_loop()
        await gate.store(*range(100, 104))
        for _ in range(3):
            gate.commit.announce()
        await gate.store(104)  # the fourth
        await gate.close()

    asyncio.run(use())

    assert [n_batches for _, n_batches in disk.commits[-2:]] == [4, 2]


def test_what_fails_to_be_brought_in_keeps_nothing_else_from_the_disk(tmp_path: Path) -> None:
    disk = Disk()

    def bring_in() -> None:
        raise RuntimeError("boom")

    async def use() -> list[Offset]:
        gate = Gate(disk, tmp_path, on_gathered=bring_in)
        await gate.commit.start()
        gate.commit.announce()
        beside = await gate.store(1)
        later = await gate.store(2)
        await gate.close()
        return beside + later

    assert asyncio.run(asyncio.wait_for(use(), 10.0)) == [1, 2]


def test_closing_brings_in_what_was_announced(tmp_path: Path) -> None:
    disk = Disk()

    async def use() -> None:
        gate = Gate(disk, tmp_path, on_gathered=lambda: bring_in())

        def bring_in() -> None:
            assert gate.commit.submit(batch_of([b"{}"]), gate.expect(1))

        await gate.commit.start()
        gate.commit.announce()
        await gate.close()

    asyncio.run(use())

    assert disk.head() == 1
