from __future__ import annotations

from sluicegate.config.declaration import Limits
from sluicegate.delivery.lanes import Lanes
from sluicegate.delivery.reader import Reader
from sluicegate.delivery.sweep import Sweep
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.memory import MemoryLog


def log_of(*sizes: int) -> MemoryLog:
    log = MemoryLog()
    for size in sizes:
        raws = [b"{}"] * size
        names = [f"m{index}" for index in range(size)]
        log.append(
            [EventBatch([Combo("track", "web")] * size, names, [None] * size, [*names], [0] * size, raws, 2 * size)],
            received_at_ms=0,
        )
    return log


def test_reader_counts_a_log_that_was_trimmed_to_its_end_as_expired() -> None:
    log = log_of(3, 2)
    lanes = Lanes(1, Limits())
    reader = Reader(log, lambda combo: None, lanes)
    log.trim(6)

    read = reader.fill()

    progress = lanes.progress()
    assert (read, progress.cursor, progress.expired) == (4, 5, 4)
    assert reader.fill() == 0


def test_reader_at_the_head_of_a_trimmed_log_finds_nothing() -> None:
    log = log_of(3)
    log.trim(4)
    lanes = Lanes(3, Limits())

    read = Reader(log, lambda combo: None, lanes).fill()

    assert (read, len(lanes.settlement)) == (0, 0)


def test_reader_has_nothing_judged_where_there_is_nothing_to_read() -> None:
    asked = []

    def judge() -> bool:
        asked.append("by a ledger that was not looked at again")
        return True

    assert Reader(log_of(3), lambda combo: None, Lanes(3, Limits()), may_go_on=judge).fill() == 0
    assert asked == []


def test_sweep_counts_a_log_that_was_trimmed_to_its_end_as_expired() -> None:
    sweep = Sweep(lambda name, combo: None)
    sweep.watch("behind", epoch=1, cursor=2)
    sweep.watch("at the head", epoch=1, cursor=5)
    sweep.watch("wanted", epoch=1, cursor=0, wanted=True)

    sweep.lose(5)

    (skip,) = sweep.skips(at_most=9)
    assert (skip.id, skip.cursor, skip.to, skip.expired) == ("behind", 2, 5, 3)
