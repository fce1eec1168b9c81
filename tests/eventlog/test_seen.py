from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.errors import LogUnavailable
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.splitset import from_bytes
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.sqlite import fetch
from sluicegate.testing.batches import add_event
from sluicegate.testing.disk import FaultyDisk

DAY_S = 86_400.0
DAY_MS = 86_400_000
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["web", "shop"])), max_size=5), min_size=1, max_size=3
)
APPENDER = """
import random, sys
from pathlib import Path
from sluicegate.eventlog.seen import SeenIds
from sluicegate.eventlog.sqlite import SqliteLog
from tests.eventlog.test_seen import batch
seen = SeenIds(window_s=86_400, max_ids=100_000)
log = SqliteLog(Path(sys.argv[1]), seen=seen)
chance = random.Random(sys.argv[2])
n_left_out = 0
ids = list(range(400))
chance.shuffle(ids)
while ids:
    some = [ids.pop() for _ in range(min(len(ids), chance.randrange(1, 5)))]
    log.append([batch(*map(str, some)), batch(str(some[0]))], received_at_ms=1)
    n_left_out += log.n_left_out
    log.maintain()
print(n_left_out)
"""


def batch(*message_ids: str, source: str = "web") -> EventBatch:
    made = EventBatch()
    for message_id in message_ids:
        add_event(made, message_id.encode(), message_id=message_id, combo=Combo("track", source))
    return made


def stored(log: SqliteLog) -> list[tuple[str, str]]:
    rows = log.read(0, max_events=1_000_000, max_bytes=1 << 30)
    return [
        (row.meta.combos[index].source, message_id)
        for row in rows
        for index, message_id in zip(row.meta.combo_of, row.meta.message_ids, strict=True)
    ]


def ids(log: SqliteLog) -> list[str]:
    return [message_id for _, message_id in stored(log)]


def open_log(path: Path, *, max_ids: int = 10_000) -> SqliteLog:
    return SqliteLog(path, seen=SeenIds(window_s=DAY_S, max_ids=max_ids))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_second_event_with_an_id_is_left_out(path: Path) -> None:
    log = open_log(path)

    first = log.append([batch("a", "b")], received_at_ms=1)
    second = log.append([batch("b", "c"), batch("a"), EventBatch(), batch("d", "d")], received_at_ms=2)

    assert (first, second) == ([1], [3, 0, 4, 4])
    assert ids(log) == ["a", "b", "c", "d"]


def test_same_id_from_another_source_is_another_event(path: Path) -> None:
    log = open_log(path)

    log.append([batch("a"), batch("a", source="shop")], received_at_ms=1)

    assert stored(log) == [("web", "a"), ("shop", "a")]


def test_what_is_stored_of_a_cut_batch_is_whole(path: Path) -> None:
    log = open_log(path)
    log.append([batch("a", "c")], received_at_ms=1)

    log.append([batch("a", "bb", "c", "dddd")], received_at_ms=1)

    row = log.read(2, max_events=9, max_bytes=9)[0]
    assert log.events(row) == [b"bb", b"dddd"]
    assert row.meta.message_ids == ["bb", "dddd"]


def test_known_ids_survive_a_restart_with_and_without_having_been_saved(path: Path) -> None:
    log = open_log(path)
    log.append([batch("saved")], received_at_ms=1)
    log.maintain()
    log.append([batch("unsaved")], received_at_ms=1)
    log.close()

    again = open_log(path)
    again.append([batch("saved", "unsaved", "new")], received_at_ms=2)

    assert ids(again) == ["saved", "unsaved", "new"]


def test_saved_ids_outlive_the_rows(path: Path) -> None:
    log = open_log(path)
    log.append([batch("a")], received_at_ms=1)
    log.maintain()
    log.trim(2)

    again = open_log(path)
    again.append([batch("a", "b")], received_at_ms=2)

    assert ids(again) == ["b"]


@pytest.mark.parametrize("restarted", [False, True])
def test_log_that_retention_has_emptied_takes_events(path: Path, restarted: bool) -> None:
    ours, theirs = open_log(path), open_log(path)
    ours.append([batch("a")], received_at_ms=1)
    theirs.append([batch("b", "c")], received_at_ms=1)
    theirs.trim(4)
    log = open_log(path) if restarted else ours

    offsets = [log.append([batch("d"), batch("e", "f")], received_at_ms=2), log.append([batch("g")], received_at_ms=2)]

    assert offsets == [[4, 5], [7]]
    assert ids(log) == ["d", "e", "f", "g"]


def test_id_is_accepted_again_after_the_window(path: Path) -> None:
    log = open_log(path)
    log.append([batch("a")], received_at_ms=1)
    log.maintain()

    log.append([batch("a")], received_at_ms=DAY_MS)
    log.append([batch("a")], received_at_ms=DAY_MS + 2)
    again = open_log(path)
    again.append([batch("a")], received_at_ms=2 * DAY_MS)
    again.append([batch("a")], received_at_ms=2 * DAY_MS + 3)

    assert ids(log) == ["a", "a", "a"]


def test_id_that_was_stored_again_is_known_after_a_restart(path: Path) -> None:
    log = open_log(path, max_ids=256)
    log.append([batch(*(f"first-{n}" for n in range(16)))], received_at_ms=1)
    log.maintain()
    for number in range(241):
        log.append([batch(f"other-{number}")], received_at_ms=2)
    log.append([batch("first-0")], received_at_ms=3)
    log.maintain()
    log.close()

    again = open_log(path, max_ids=256)
    again.append([batch("first-0")], received_at_ms=4)

    assert ids(again).count("first-0") == 2


def test_saved_ids_are_bounded_on_disk(path: Path) -> None:
    log = open_log(path, max_ids=100)
    for number in range(50):
        log.append([batch(*(f"{number}-{i}" for i in range(10)))], received_at_ms=number)
        log.maintain()

    blocks = fetch(apsw.Connection(str(path)), "SELECT hashes FROM seen_ids WHERE last > 0")

    assert sum(len(part) for (block,) in blocks for part in from_bytes(block)) <= 110


def test_log_of_an_older_version_gets_its_ids_from_the_rows(path: Path) -> None:
    plain = SqliteLog(path)
    plain.append([batch("a"), batch("b", source="shop")], received_at_ms=1)
    plain._db.execute("DROP TABLE seen_ids")
    plain.close()

    log = open_log(path)
    log.append([batch("a"), batch("b", source="shop"), batch("b")], received_at_ms=2)

    assert stored(log) == [("web", "a"), ("shop", "b"), ("web", "b")]


@pytest.mark.parametrize("n_bytes", [1, 2_000_000])
def test_append_that_failed_leaves_no_id_behind(path: Path, n_bytes: int) -> None:
    disk = FaultyDisk()
    try:
        log = open_log(path)
        log.append([batch("a")], received_at_ms=1)
        big = batch("a", "b", "c")
        big.events = [event * n_bytes for event in big.events]
        big.n_bytes = sum(map(len, big.events))
        disk.full = True
        with pytest.raises(LogUnavailable):
            log.append([big], received_at_ms=2)
        disk.full = False

        log.append([batch("a", "b", "c")], received_at_ms=3)
    finally:
        disk.unregister()

    assert ids(log) == ["a", "b", "c"]


def test_event_whose_append_failed_behind_another_process_is_stored_when_it_is_sent_again(path: Path) -> None:
    disk = FaultyDisk()
    try:
        ours, theirs = open_log(path), open_log(path)
        ours.append([batch("a")], received_at_ms=1)
        theirs.append([batch("b")], received_at_ms=1)
        disk.full = True
        with pytest.raises(LogUnavailable):
            ours.append([batch("c")], received_at_ms=2)
        disk.full = False

        ours.append([batch("b", "c")], received_at_ms=3)
    finally:
        disk.unregister()

    assert ids(ours) == ["a", "b", "c"]


def test_large_commit_behind_another_process_is_checked_again(path: Path) -> None:
    ours, theirs = open_log(path), open_log(path)
    ours.append([batch("a")], received_at_ms=1)
    theirs.append([batch("b")], received_at_ms=1)

    many = [f"m{number}" for number in range(6_000)]
    offsets = ours.append([batch("b", *many)], received_at_ms=2)

    assert offsets == [3]
    assert ids(ours) == ["a", "b", *many]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), BATCHES), max_size=25))
def test_logs_that_take_turns_agree_with_a_set(steps: Sequence[tuple[int, list[list[tuple[int, str]]]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        logs = [open_log(path), open_log(path)]
        expected: list[tuple[str, str]] = []
        for action, batches in steps:
            if action == 2:
                logs[0].maintain()
                continue
            if action == 3:
                logs[0].close()
                logs[0] = open_log(path)
                continue
            made = []
            for events in batches:
                one = EventBatch()
                for number, source in events:
                    add_event(one, b"{}", message_id=str(number), combo=Combo("track", source))
                    if (source, str(number)) not in expected:
                        expected.append((source, str(number)))
                made.append(one)
            logs[action].append(made, received_at_ms=1)

        found = stored(logs[1])
        for log in logs:
            log.close()

    assert found == expected


def test_two_processes_that_append_the_same_ids_store_each_once(path: Path) -> None:
    log = open_log(path)
    command = [sys.executable, "-c", APPENDER, str(path)]
    with (
        subprocess.Popen([*command, "1"], stdout=subprocess.PIPE) as first,
        subprocess.Popen([*command, "2"], stdout=subprocess.PIPE) as second,
    ):
        duplicates = [int(process.communicate()[0]) for process in (first, second)]

    found = ids(log)

    n_offered = sum(duplicates) + len(found)
    assert sorted(found, key=int) == [str(number) for number in range(400)]
    assert min(duplicates) > 0
    assert n_offered > 800
