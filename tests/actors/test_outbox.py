from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.actors.outbox import Outbox


def make(max_items: int = 100, max_bytes: int = 1000) -> Outbox[str]:
    return Outbox(size_of=len, max_items=max_items, max_bytes=max_bytes)


def test_messages_for_a_receiver_that_is_busy_wait_and_travel_together() -> None:
    outbox = make()
    outbox.put("a", "1")
    first = outbox.take()
    outbox.put("a", "2")
    outbox.put("a", "3")

    while_busy = outbox.take()
    outbox.done("a")
    then = outbox.take()

    assert (first, while_busy, then) == (["1"], [], ["2", "3"])


def test_busy_receiver_does_not_hold_up_others() -> None:
    outbox = make()
    outbox.put("a", "1")
    outbox.take()
    outbox.put("a", "2")
    outbox.put("b", "3")

    batch = outbox.take()

    assert batch == ["3"]


def test_batch_ends_at_its_limits_of_items_and_bytes() -> None:
    by_items, by_bytes = make(max_items=2), make(max_bytes=4)
    for outbox in (by_items, by_bytes):
        for item in ("aaaaa", "bb", "cc", "d"):
            outbox.put("r", item)

    sizes = [[len(batch) for batch in _batches(outbox)] for outbox in (by_items, by_bytes)]

    assert sizes == [[2, 2], [1, 2, 1]]


def test_expired_messages_leave_and_the_receiver_stays_usable() -> None:
    outbox = make()
    outbox.put("a", "old")
    outbox.put("a", "new")

    gone = outbox.expire(lambda item: item == "old")
    rest = outbox.take()

    assert (gone, rest, len(outbox)) == (["old"], ["new"], 0)


def test_receiver_whose_messages_all_expired_is_ready_only_once() -> None:
    outbox = make()
    outbox.put("a", "old")
    outbox.expire(lambda item: True)
    outbox.put("a", "1")
    outbox.take()
    outbox.put("a", "2")

    assert outbox.take() == []


@given(st.lists(st.one_of(st.tuples(st.integers(0, 3), st.integers()), st.none(), st.integers(0, 3))))
def test_order_is_kept_and_nothing_is_lost(steps: list[tuple[int, int] | int | None]) -> None:
    outbox: Outbox[tuple[int, int]] = Outbox(size_of=lambda item: 1, max_items=3, max_bytes=2)
    put: list[tuple[int, int]] = []
    taken: list[tuple[int, int]] = []
    busy: set[int] = set()
    for step in steps:
        if isinstance(step, tuple):
            outbox.put(step[0], step)
            put.append(step)
        elif step is None:
            batch = outbox.take()
            assert not busy & {receiver for receiver, _ in batch}
            busy |= {receiver for receiver, _ in batch}
            taken += batch
        else:
            outbox.done(step)
            busy.discard(step)

    for receiver in busy:
        outbox.done(receiver)
    taken += [item for batch in _batches(outbox) for item in batch]

    assert len(outbox) == 0
    for receiver in range(4):
        assert [item for item in taken if item[0] == receiver] == [item for item in put if item[0] == receiver]


def _batches(outbox: Outbox) -> list[list]:  # type: ignore[type-arg]
    """All batches, each acknowledged before the next."""
    found = []
    while batch := outbox.take():
        found.append(batch)
        for receiver in ("r", 0, 1, 2, 3):
            outbox.done(receiver)
    return found
