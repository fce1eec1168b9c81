from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.eventlog.memory import MemoryLog
from sluicegate.eventlog.runs import MAX_WASTE, Events, Run
from sluicegate.testing.batches import add_event, batch_of

ROWS = st.lists(st.lists(st.binary(max_size=6), min_size=1, max_size=6), max_size=5)


def events_of(rows: list[list[bytes]]) -> Events:
    log = MemoryLog()
    for row in rows:
        log.append([batch_of(row)], received_at_ms=1)
    return Events([Run.of_row(row, log.payload(row)) for row in log.read(0, max_events=1_000, max_bytes=1_000_000)])


def columns(events: Events) -> list[tuple[int, str, str, bytes]]:
    return list(zip(events.offsets, events.message_ids, events.subjects, events.raws, strict=True))


@given(ROWS, st.data())
def test_parts_of_runs_are_the_parts_of_their_columns(rows: list[list[bytes]], data: st.DataObject) -> None:
    events = events_of(rows)
    expected = columns(events)
    for _ in range(data.draw(st.integers(0, 4))):
        n_events = len(events)
        match data.draw(st.sampled_from(["slice", "select", "compact"])):
            case "slice":
                start, stop = sorted(data.draw(st.tuples(st.integers(0, n_events), st.integers(0, n_events + 1))))
                events, expected = events.slice(start, stop), expected[start:stop]
            case "select":
                chosen = bytes(data.draw(st.lists(st.integers(0, 1), min_size=n_events, max_size=n_events)))
                events = events.select(chosen)
                expected = [event for event, wanted in zip(expected, chosen, strict=True) if wanted]
            case _:
                events = events.compact()

    raws = [raw for _, _, _, raw in expected]
    assert columns(events) == expected
    assert (len(events), events.n_bytes) == (len(raws), sum(map(len, raws)))
    assert events.joined() == b",".join(raws)
    assert events.lines() == b"".join(raw.replace(b"\n", b" ") + b"\n" for raw in raws)


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.integers(0, 100), st.booleans())
def test_fitting_events_are_as_many_as_the_bytes_allow(raws: list[bytes], max_bytes: int, whole: bool) -> None:
    (run,) = events_of([raws]).runs
    if not whole:
        run, raws = run.select([n % 3 != 1 for n in range(len(raws))]), [r for n, r in enumerate(raws) if n % 3 != 1]

    n_fitting = run.n_fitting(max_bytes)

    assert sum(map(len, raws[:n_fitting])) <= max_bytes
    assert n_fitting == len(raws) or sum(map(len, raws[: n_fitting + 1])) > max_bytes


def test_few_events_of_a_large_row_do_not_keep_it_in_memory() -> None:
    (run,) = events_of([[b"x" * 100] * 100]).runs

    few, many = run.slice(7, 9).compact(), run.slice(0, 50).compact()

    assert len(few.block.payload) <= few.n_bytes * MAX_WASTE
    assert (list(few.offsets), few.joined()) == ([8, 9], b"x" * 100 + b"," + b"x" * 100)
    assert many.block is run.block


def test_ids_of_selected_events_are_theirs() -> None:
    log = MemoryLog()
    batch = batch_of([])
    for number in range(4):
        add_event(
            batch, b"{}", message_id=f"m{number}", anonymous_id=None, user_id=f"u{number}" if number % 2 else None
        )
    log.append([batch], received_at_ms=1)
    (row,) = log.read(0, max_events=9, max_bytes=999)

    run = Run.of_row(row, log.payload(row)).select([1, 1, 0, 1])

    assert (list(run.message_ids), list(run.subjects)) == (["m0", "m1", "m3"], ["m0", "u1", "u3"])


def test_fingerprint_does_not_depend_on_how_events_are_cut() -> None:
    raws = [b"%d" % n for n in range(9)]
    whole, cut = events_of([raws]), events_of([raws[:2], raws[2:3], raws[3:]])
    chosen = bytes([1, 0, 1, 1, 0, 0, 1, 1, 1])

    assert whole.fingerprint() == cut.fingerprint()
    assert whole.select(chosen).fingerprint() == cut.select(chosen).compact().fingerprint()


@pytest.mark.parametrize(
    ("other", "chosen"),
    [
        ([b"1", b"2", b"3", b"4", b"6"], b"\1\1\0\1\1"),  # another last event at the same place: another log
        ([b"1", b"2", b"3", b"4", b"5"], b"\1\0\1\1\1"),  # the same ends and number of events, another middle
        ([b"1", b"2", b"3", b"4", b"5"], b"\1\1\0\1\0"),
        ([b"0", b"1", b"2", b"3", b"4", b"5"], b"\0\1\1\0\1\1"),
    ],
)
def test_fingerprint_differs_between_different_events(other: list[bytes], chosen: bytes) -> None:
    events = events_of([[b"1", b"2", b"3", b"4", b"5"]]).select(b"\1\1\0\1\1")

    assert events.fingerprint() != events_of([other]).select(chosen).fingerprint()


def test_bounds_are_where_events_begin() -> None:
    (run,) = events_of([[b"{}", b'{"a":1}']]).runs

    assert run.block.bounds == array("I", [0, 3, 11])
    assert [run.block.payload[start : end - 1] for start, end in pairwise(run.block.bounds)] == [b"{}", b'{"a":1}']
