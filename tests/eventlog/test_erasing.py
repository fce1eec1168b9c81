from __future__ import annotations

from collections.abc import Collection
from hashlib import shake_128
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.event import ERASED, MAX_COMBOS, Combo, EventBatch, decode_meta, encode_batch, split_payload
from sluicegate.eventlog.base import RowGone
from sluicegate.eventlog.erasing import EMPTY, LogEraser, without
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.testing.batches import add_event
from sluicegate.testing.commanded_disk import CommandedDisk, Commands
from sluicegate.testing.eventlog_contract import read_all

texts = st.text(max_size=8)
combos = st.builds(Combo, texts, texts)
events = st.tuples(
    combos, texts, st.none() | texts, st.none() | texts, st.integers(0, 2**53), st.binary(min_size=3, max_size=20)
)
Event = tuple[Combo, str, str | None, str | None, int, bytes]


def batch_of(rows: Collection[Event]) -> EventBatch:
    batch = EventBatch()
    for combo, message_id, user_id, anonymous_id, time_ms, data in rows:
        batch.extend(EventBatch([combo], [message_id], [user_id], [anonymous_id], [time_ms], [data], len(data)))
    return batch


def told(meta: bytes, payload: bytes) -> list[Event]:
    """The events that a stored row has, one by one."""
    read = decode_meta(meta)
    columns = read.message_ids, read.user_ids, read.anonymous_ids, read.times_ms
    return [
        (read.combos[code], *rest, raw)
        for code, rest, raw in zip(
            read.combo_of, zip(*columns, strict=True), split_payload(payload, read.bounds), strict=True
        )
    ]


@given(st.lists(events, min_size=1, max_size=20), st.sets(st.integers(0, 19)))
def test_erasing_keeps_every_other_event_of_a_row_byte_for_byte(rows: list[Event], chosen: set[int]) -> None:
    places = {place for place in chosen if place < len(rows)}
    meta, payload = encode_batch(batch_of(rows))

    (piece,) = without(meta, payload, places)

    nobody: Event = (Combo(ERASED, ""), "", None, None, 0, EMPTY)
    expected = [nobody if place in places else row for place, row in enumerate(rows)]
    assert told(piece.meta, piece.payload) == expected
    assert piece.n_events == len(rows)


@given(st.integers(MAX_COMBOS + 1, 600), st.data())
def test_a_row_that_would_have_too_many_combinations_becomes_several(n_events: int, data: st.DataObject) -> None:
    rows: list[Event] = [
        (Combo("track", str(index % MAX_COMBOS)), f"m-{index}", None, "v", 1, b"event %d" % index)
        for index in range(n_events)
    ]
    erased = data.draw(st.integers(0, n_events - 1))

    pieces = without(*encode_batch(batch_of(rows)), {erased})

    found = [event for piece in pieces for event in told(piece.meta, piece.payload)]
    assert [piece.n_events for piece in pieces] == [len(decode_meta(piece.meta).combo_of) for piece in pieces]
    assert found[:erased] + found[erased + 1 :] == rows[:erased] + rows[erased + 1 :]
    assert found[erased][0].type == ERASED


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    return SqliteLog(tmp_path / "events.db")


def fill(log: SqliteLog, *, n_rows: int, n_events: int, size: int = 40) -> None:
    for row in range(n_rows):
        batch = EventBatch()
        for index in range(n_events):
            name = "anne" if index % 5 == 0 else f"v{index}"
            noise = shake_128(b"%d %d" % (row, index)).hexdigest(size)
            event = f'{{"anonymousId":"{name}","n":{index},"canary":"{name}-canary","noise":"{noise}"}}'.encode()
            add_event(batch, event, message_id=f"m-{row}-{index}", anonymous_id=name)
        log.append([batch], received_at_ms=row)


def places_of_anne(log: SqliteLog) -> list[tuple[int, list[int]]]:
    rows = log.read(0, max_events=1_000_000, max_bytes=2**30)
    return [(row.first, [i for i, name in enumerate(row.meta.anonymous_ids) if name == "anne"]) for row in rows]


@pytest.mark.parametrize("size", [0, 900])
def test_erased_events_leave_no_trace_in_the_file_and_all_others_stay(
    log: SqliteLog, tmp_path: Path, size: int
) -> None:
    fill(log, n_rows=30, n_events=20, size=size)
    before = read_all(log)
    eraser = LogEraser(log.path)

    n_erased = sum(eraser.erase(*one) for one in places_of_anne(log))
    eraser.leave_nothing()

    after = read_all(log)
    bytes_left = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert (n_erased, log.head()) == (120, 600)
    assert after == [(offset, EMPTY if b"anne" in event else event) for offset, event in before]
    assert b"anne" not in bytes_left
    assert log.faults() == []


def test_trimmed_events_leave_no_trace_in_the_file(log: SqliteLog, tmp_path: Path) -> None:
    fill(log, n_rows=30, n_events=20)
    log.trim(601)
    log.shrink(entirely=True)

    eraser = LogEraser(log.path)
    eraser.leave_nothing()

    assert b"anne" not in b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))


def test_a_row_that_was_read_before_its_events_were_erased_must_be_read_again(log: SqliteLog) -> None:
    fill(log, n_rows=1, n_events=20, size=900)
    (row,) = log.read(0, max_events=100, max_bytes=2**20)

    LogEraser(log.path).erase(*places_of_anne(log)[0])

    with pytest.raises(RowGone, match="read again"):
        log.payload(row)
    (again,) = log.read(0, max_events=100, max_bytes=2**20)
    assert log.events(again).count(EMPTY) == 4


def test_erasing_a_row_that_retention_removed_erases_nothing(log: SqliteLog) -> None:
    fill(log, n_rows=2, n_events=20)
    places = places_of_anne(log)
    log.trim(21)

    n_erased = [LogEraser(log.path).erase(*one) for one in places]

    assert n_erased == [0, 4]


def test_each_erased_row_is_on_disk_before_the_next(tmp_path: Path) -> None:
    path, commands = tmp_path / "events.db", Commands(tmp_path / "disk")
    log = SqliteLog(path)
    for number in (1, 2, 3):
        batch = EventBatch()
        add_event(batch, b'{"n":%d}' % number, message_id=str(number))
        log.append([batch], received_at_ms=1)
    disk = CommandedDisk(commands.folder)
    n_syncs = []

    try:
        eraser = LogEraser(path)
        for first in (1, 2, 3):
            n_syncs.append(len(commands.syncs()))
            eraser.erase(first, [0])
        n_syncs.append(len(commands.syncs()))
        eraser.close()
    finally:
        disk.unregister()

    log.close()
    assert n_syncs == sorted(set(n_syncs))
