from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config.model import LogConfig
from sluicegate.delivery.retention import Retention, trim_before
from sluicegate.eventlog.base import Offset
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import batch_of


@given(
    arrived=st.lists(st.integers(0, 50), max_size=30).map(sorted),
    tail=st.integers(1, 10),
    cursors=st.lists(st.integers(0, 40), max_size=4),
    now_ms=st.integers(0, 100),
)
def test_only_old_events_that_all_have_passed_are_let_go(
    arrived: list[int], tail: int, cursors: list[int], now_ms: int
) -> None:
    head = tail + len(arrived) - 1
    cursors = [min(cursor, head) for cursor in cursors]

    def received_at_ms(after: int) -> int | None:
        index = max(after + 1, tail) - tail
        return arrived[index] if index < len(arrived) else None

    before = trim_before(cursors, tail=tail, head=head, received_at_ms=received_at_ms, now_ms=now_ms, keep_ms=20)

    kept = [arrived[o - tail] < now_ms - 20 and all(o <= c for c in cursors) for o in range(before, head + 1)]
    gone = [arrived[o - tail] < now_ms - 20 and all(o <= c for c in cursors) for o in range(tail, before)]
    assert all(gone)
    assert not kept or not kept[0]


class Clocked:
    """A log to which rows are appended at given times."""

    def __init__(self, path: Path) -> None:
        self.log = SqliteLog(path)

    def append(self, at_ms: int, *, n_events: int = 1, n_bytes: int = 10) -> None:
        events = [os.urandom(n_bytes) for _ in range(n_events)]  # cannot be compressed
        self.log.append([batch_of(events)], received_at_ms=at_ms)


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    clocked = Clocked(tmp_path / "events.db")
    yield clocked
    clocked.log.close()


CONFIG = LogConfig(retention_s=10, max_age_s=100, max_bytes=2_000_000)


def test_what_all_have_passed_goes_after_the_retention(clocked: Clocked) -> None:
    for at_ms in (0, 5_000, 20_000):
        clocked.append(at_ms)

    trimmed = Retention(CONFIG).apply(clocked.log, {"a": 3, "b": 2}, now_ms=15_001)

    assert (trimmed, clocked.log.tail()) == (2, 3)


def test_what_somebody_needs_stays_until_the_greatest_age_and_then_expires_with_a_warning(
    clocked: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    for at_ms in (0, 5_000, 20_000):
        clocked.append(at_ms)

    early = Retention(CONFIG).apply(clocked.log, {"a": 3, "b": 1}, now_ms=100_000)
    late = Retention(CONFIG).apply(clocked.log, {"a": 3, "b": 1}, now_ms=105_001)

    assert (early, late, clocked.log.tail()) == (1, 1, 3)
    assert "b: 1 events have expired" in caplog.text
    assert "a:" not in caplog.text


def test_unknown_cursors_keep_everything_that_is_not_too_old(clocked: Clocked) -> None:
    for at_ms in (0, 50_000):
        clocked.append(at_ms)

    Retention(CONFIG).apply(clocked.log, None, now_ms=100_001)

    assert clocked.log.tail() == 2


def test_log_that_is_too_large_loses_its_oldest_events(clocked: Clocked, caplog: pytest.LogCaptureFixture) -> None:
    for at_ms in range(100):
        clocked.append(at_ms, n_events=5, n_bytes=10_000)
    retention = Retention(CONFIG)

    over = retention.over_size(clocked.log)
    retention.apply(clocked.log, {"a": 0}, now_ms=200)

    assert over and not retention.over_size(clocked.log)
    assert 1_500_000 < clocked.log.used_bytes() <= 2_000_000
    assert f"a: {clocked.log.tail() - 1} events have expired" in caplog.text


def test_one_row_that_is_too_large_goes_too(clocked: Clocked) -> None:
    clocked.append(0, n_bytes=3_000_000)

    Retention(CONFIG).apply(clocked.log, {"a": 0}, now_ms=0)

    assert (clocked.log.tail(), clocked.log.head()) == (2, 1)


def test_low_disk_lets_what_all_have_passed_go_at_once_and_cuts_the_file(clocked: Clocked) -> None:
    for _ in range(20):
        clocked.append(0, n_bytes=1_000_000)
    clocked.log._checkpoints.move()
    before = clocked.log.path.stat().st_size

    trimmed = Retention(LogConfig()).apply(clocked.log, {"a": 19}, now_ms=0, disk_low=True)

    assert trimmed == 19
    assert before > 20_000_000
    assert clocked.log.path.stat().st_size < 2_000_000


def test_file_with_little_to_give_back_is_not_cut(clocked: Clocked) -> None:
    for _ in range(20):
        clocked.append(0, n_bytes=1_000_000)
    clocked.log._checkpoints.move()
    before = clocked.log.path.stat().st_size

    Retention(LogConfig()).apply(clocked.log, {"a": 19}, now_ms=2 * 86_400_000)

    assert clocked.log.path.stat().st_size == before


def test_what_somebody_holds_stays_although_all_have_passed_it(clocked: Clocked) -> None:
    for at_ms in (0, 5_000, 20_000):
        clocked.append(at_ms)

    trimmed = Retention(CONFIG).apply(clocked.log, {"a": 3, "b": 3}, now_ms=90_000, held=[2])

    assert (trimmed, clocked.log.tail()) == (1, 2)


@pytest.mark.parametrize("damage", [64, -3])
def test_row_with_a_damaged_count_goes_with_the_oldest(clocked: Clocked, damage: int) -> None:
    for at_ms in range(10):
        clocked.append(at_ms, n_events=5, n_bytes=100_000)
    clocked.log._db.execute(f"UPDATE rows SET count = count + {damage} WHERE first = 1")

    trimmed = Retention(CONFIG).apply(clocked.log, {"a": 0}, now_ms=20)

    assert trimmed == clocked.log.tail() - 1 == clocked.log.forgotten()
    assert not Retention(CONFIG).over_size(clocked.log)


def test_trimming_to_size_ends_when_nothing_can_be_let_go(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked.append(0, n_bytes=3_000_000)
    before: list[Offset] = []

    def trim(offset: Offset) -> int:
        before.append(offset)
        assert len(before) < 10, "it goes on for ever"
        return 0

    monkeypatch.setattr(clocked.log, "trim", trim)

    assert Retention(CONFIG).apply(clocked.log, {"a": 0}, now_ms=0) == 0


def test_remembered_message_ids_let_no_events_expire(clocked: Clocked) -> None:
    clocked.append(0, n_bytes=1_000_000)
    clocked.log._db.executemany("INSERT INTO seen_ids VALUES (?, 0, zeroblob(65536))", [(n,) for n in range(1, 61)])

    Retention(CONFIG).apply(clocked.log, {"a": 0}, now_ms=1)

    assert clocked.log.tail() == 1


def test_log_of_an_older_version_has_a_size_too(clocked: Clocked) -> None:
    clocked.append(0, n_bytes=1_000_000)
    clocked.log._db.execute("DROP TABLE seen_ids")

    assert 1_000_000 < clocked.log.used_bytes() < 1_100_000
