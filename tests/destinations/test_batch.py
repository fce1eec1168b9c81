from __future__ import annotations

from sluicegate.destinations.base import Batch, Event
from sluicegate.eventlog.runs import Events


def batch() -> Batch:
    first = Events.of([3, 4], ["a", "b"], ["s", "s"], [b"{}", b"[]"])
    second = Events.of([7, 8, 9], ["c", "d", "e"], ["s", "s", "s"], [b"1", b"2", b"3"])
    return Batch.of(Events([*first.runs, *second.runs]), attempt=2)


def test_batch_is_a_sequence_of_events() -> None:
    events = list(batch())

    assert events[2] == batch()[2] == Event(7, "c", b"1")
    assert (len(batch()), batch()[-1]) == (5, Event(9, "e", b"3"))
    assert batch().raws == [event.raw for event in events] == [b"{}", b"[]", b"1", b"2", b"3"]


def test_slices_are_batches_of_the_same_attempt() -> None:
    for cut in (slice(1, 4), slice(-2, None), slice(None, None, 2), slice(None, None, -1), slice(4, 1)):
        part = batch()[cut]

        assert list(part) == list(batch())[cut]
        assert part.joined() == b",".join(batch().raws[cut])
        assert part.attempt == 2


def test_all_events_come_joined_or_as_lines() -> None:
    assert batch().joined() == b"{},[],1,2,3"
    assert batch().lines() == b"{}\n[]\n1\n2\n3\n"


def test_key_is_of_the_events_and_the_destination() -> None:
    by_columns = Batch(batch().offsets, batch().message_ids, batch().raws)

    assert batch().key("crm") == by_columns.key("crm")
    assert len({batch().key("crm"), batch().key("archive"), batch()[:4].key("crm"), batch()[1:].key("crm")}) == 4
