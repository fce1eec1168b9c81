# ruff: noqa: D102  (the name of a test says what it demands)
"""What every event log must do: subclass `EventLogContract` in a test module, and say how to open one.

    class TestMyLog(DurableEventLogContract):
        factory = "my_package.log:MyLog"

        def open_log(self, path):
            return MyLog(path)

`DurableEventLogContract` adds what a log on disk must survive; `factory` names what the processes it starts and kills
call with the same path. For pytest.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.base import EventLog, Offset, RowGone
from sluicegate.testing.appender import event_of
from sluicegate.testing.batches import add_event, batch_of

ALL_EVENTS = 1_000_000
ALL_BYTES = 1_000_000_000
ACKNOWLEDGED_BEFORE_KILL = 20


def read_all(log: EventLog, after: Offset = 0) -> list[tuple[Offset, bytes]]:
    """Every event after this offset with its own."""
    found = []
    for row in log.read(after, max_events=ALL_EVENTS, max_bytes=ALL_BYTES):
        found += [(row.first + index, event) for index, event in enumerate(log.events(row))]
    return [(offset, event) for offset, event in found if offset > after]


class EventLogContract(ABC):
    """Order, offsets, limits and retention."""

    @abstractmethod
    def open_log(self, path: Path) -> EventLog:
        """A log at this path, which lies in an empty folder at first."""

    def test_new_log_is_empty(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")

        assert (log.head(), log.tail(), read_all(log)) == (0, 1, [])
        assert log.received_at_ms(0) is None

    def test_offsets_are_dense_from_one(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")

        first = log.append([batch_of([b"a", b"b"]), batch_of([b"c"])], received_at_ms=1)
        second = log.append([batch_of([b"d"])], received_at_ms=2)

        assert (first, second, log.head(), log.tail()) == ([1, 3], [4], 4, 1)
        assert read_all(log) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")]

    def test_payload_is_the_inside_of_a_json_array(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b'{"a":1}', b"{}"]), batch_of([b"[]"])], received_at_ms=1)

        (row,) = log.read(0, max_events=ALL_EVENTS, max_bytes=ALL_BYTES)

        assert log.payload(row) == b'{"a":1},{},[]'
        assert list(row.meta.bounds) == [0, 8, 11, 14]

    def test_empty_batch_takes_no_offset(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")

        offsets = log.append([EventBatch(), batch_of([b"a"]), EventBatch()], received_at_ms=1)

        assert (offsets, log.head()) == ([1, 1, 2], 1)
        assert log.append([], received_at_ms=2) == []

    def test_appending_leaves_the_batches_as_they_are(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        batches = [batch_of([b"a"]), batch_of([b"b", b"c"])]

        log.append(batches, received_at_ms=1)

        assert [batch.events for batch in batches] == [[b"a"], [b"b", b"c"]]

    def test_meta_has_what_was_appended(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        batch = EventBatch()
        full = Combo("identify", "shop", (("ads", False), ("necessary", True)), ("crm",), ("archive",), True)
        add_event(batch, b"a", message_id="one", combo=full, user_id="u", anonymous_id=None, time_ms=5)
        add_event(batch, b"b", message_id="two", anonymous_id="v", time_ms=6)

        log.append([batch], received_at_ms=7)

        (row,) = log.read(0, max_events=ALL_EVENTS, max_bytes=ALL_BYTES)
        assert [row.meta.combos[index] for index in row.meta.combo_of] == batch.combos
        assert (row.meta.message_ids, row.meta.times_ms) == (["one", "two"], [5, 6])
        assert (row.meta.user_ids, row.meta.anonymous_ids) == (["u", None], [None, "v"])
        assert (row.first, row.count, row.last, row.received_at_ms) == (1, 2, 2, 7)

    def test_more_than_256_combinations_are_stored_in_order(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        batch = EventBatch()
        for index in range(700):
            add_event(batch, b"%d" % index, message_id=str(index), combo=Combo("track", f"source-{index}"))

        offsets = log.append([batch_of([b"x"]), batch], received_at_ms=1)

        assert offsets == [1, 2]
        assert [event for _, event in read_all(log, 1)] == batch.events
        rows = log.read(0, max_events=ALL_EVENTS, max_bytes=ALL_BYTES)
        assert [row.meta.combos[i].source for row in rows for i in row.meta.combo_of][1:] == [
            combo.source for combo in batch.combos
        ]

    def test_reading_may_begin_inside_a_row(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b"a", b"b", b"c"])], received_at_ms=1)
        log.append([batch_of([b"d"])], received_at_ms=2)

        assert read_all(log, 1) == [(2, b"b"), (3, b"c"), (4, b"d")]
        assert [row.first for row in log.read(3, max_events=9, max_bytes=ALL_BYTES)] == [4]
        assert log.read(4, max_events=9, max_bytes=ALL_BYTES) == []

    def test_reading_stops_before_the_row_that_exceeds_a_limit(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        for _ in range(3):
            log.append([batch_of([b"0123456789"] * 10)], received_at_ms=1)

        assert len(log.read(0, max_events=20, max_bytes=ALL_BYTES)) == 2
        assert len(log.read(0, max_events=29, max_bytes=ALL_BYTES)) == 2
        assert len(log.read(0, max_events=ALL_EVENTS, max_bytes=299)) == 2
        assert len(log.read(0, max_events=1, max_bytes=1)) == 1

    def test_received_time_belongs_to_the_first_event_after_the_offset(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b"a", b"b"])], received_at_ms=10)
        log.append([batch_of([b"c"])], received_at_ms=20)

        assert [log.received_at_ms(after) for after in range(4)] == [10, 10, 20, None]

    def test_trim_forgets_whole_rows_only(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b"a", b"b"])], received_at_ms=1)
        log.append([batch_of([b"c", b"d"])], received_at_ms=2)

        assert (log.trim(2), log.tail()) == (0, 1)
        assert (log.trim(3), log.tail()) == (2, 3)
        assert read_all(log) == [(3, b"c"), (4, b"d")]
        assert log.read(0, max_events=9, max_bytes=ALL_BYTES)[0].first == 3

    def test_offsets_go_on_after_everything_was_trimmed(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b"a", b"b"])], received_at_ms=1)

        assert (log.trim(3), log.head(), log.tail()) == (2, 2, 3)
        assert log.append([batch_of([b"c"])], received_at_ms=2) == [3]
        assert read_all(log) == [(3, b"c")]

    def test_row_that_was_trimmed_after_reading_is_gone(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([os.urandom(100_000)])], received_at_ms=1)
        (row,) = log.read(0, max_events=9, max_bytes=ALL_BYTES)
        log.trim(2)

        gone = False
        try:
            log.events(row)
        except RowGone:
            gone = True

        assert gone

    def test_random_use_agrees_with_a_list(self, tmp_path: Path) -> None:
        for seed in range(5):
            run_against_list(self.open_log(tmp_path / f"log-{seed}"), random.Random(seed))


class DurableEventLogContract(EventLogContract):
    """What a log on disk must survive besides."""

    factory: ClassVar[str]

    def test_log_is_as_it_was_when_opened_again(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        log.append([batch_of([b"a", b"b"])], received_at_ms=1)
        log.trim(3)
        log.close()

        again = self.open_log(tmp_path / "log")

        assert (again.head(), again.tail()) == (2, 3)
        assert again.append([batch_of([b"c"])], received_at_ms=2) == [3]

    def test_two_processes_append_without_gaps_or_mixing(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        with (
            start_appender(self.factory, tmp_path / "log", "a", n_appends=50) as first,
            start_appender(self.factory, tmp_path / "log", "b", n_appends=50) as second,
        ):
            acknowledged = {"a": first.communicate()[0].split("\n"), "b": second.communicate()[0].split("\n")}

        stored = dict(read_all(log))

        assert sorted(stored) == list(range(1, 301))
        for name, lines in acknowledged.items():
            assert_stored(stored, name, lines[:-1])

    def test_killed_process_loses_nothing_acknowledged_and_leaves_nothing_half(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path / "log")
        with start_appender(self.factory, tmp_path / "log", "a") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(ACKNOWLEDGED_BEFORE_KILL)]
            process.kill()
            lines += [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]

        stored = dict(read_all(log))

        assert len(stored) % 3 == 0
        assert log.head() == len(stored)
        assert_stored(stored, "a", lines)
        assert log.append([batch_of([b"after"])], received_at_ms=1) == [len(stored) + 1]


def start_appender(factory: str, path: Path, name: str, *, n_appends: int | None = None) -> subprocess.Popen[str]:
    """Start `sluicegate.testing.appender`."""
    arguments = [factory, str(path), name, *([] if n_appends is None else [str(n_appends)])]
    command = [sys.executable, "-m", "sluicegate.testing.appender", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def assert_stored(stored: dict[Offset, bytes], name: str, lines: Sequence[str]) -> None:
    """Check that every append that was reported stands where it was reported."""
    for line in lines:
        append, first, second = map(int, line.split())
        assert stored[first] == event_of(name, append, 0)
        assert [stored[second], stored[second + 1]] == [event_of(name, append, 1), event_of(name, append, 2)]


def run_against_list(log: EventLog, chance: random.Random, *, n_steps: int = 60) -> None:
    """Append, read and trim at random, and compare with a list of (first, events) rows."""
    rows: list[tuple[Offset, list[bytes]]] = []
    head = 0
    for step in range(n_steps):
        action = chance.choice(["append", "append", "read", "trim"])
        if action == "append":
            batches = [[b"%d-%d" % (step, i)] * chance.randrange(4) for i in range(chance.randrange(1, 4))]
            log.append([batch_of(events) for events in batches], received_at_ms=step)
            if events := [event for batch in batches for event in batch]:
                rows.append((head + 1, events))
                head += len(events)
        elif action == "read":
            after = chance.randrange(head + 2)
            expected = [(first + i, event) for first, events in rows for i, event in enumerate(events)]
            assert read_all(log, after) == [(offset, event) for offset, event in expected if offset > after]
        else:
            before = chance.randrange(head + 2)
            kept = [(first, events) for first, events in rows if first + len(events) > before]
            assert log.trim(before) == sum(len(events) for _, events in rows) - sum(len(events) for _, events in kept)
            rows = kept
        assert (log.head(), log.tail()) == (head, rows[0][0] if rows else head + 1)
