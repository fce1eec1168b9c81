from __future__ import annotations

import os
import select
import threading

import pytest

from sluicegate.actors.inbox import Inbox


def test_items_are_drained_in_the_order_of_putting() -> None:
    inbox: Inbox[int] = Inbox()
    for number in range(3):
        inbox.put(number)

    assert _readable(inbox)
    assert inbox.drain() == [0, 1, 2]
    assert not _readable(inbox)
    assert inbox.drain() == []
    inbox.close()


def test_nothing_that_threads_put_is_lost() -> None:
    inbox: Inbox[tuple[int, int]] = Inbox()

    def put_many(number: int) -> None:
        for i in range(2000):
            inbox.put((number, i))

    threads = [threading.Thread(target=put_many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()

    drained: list[tuple[int, int]] = []
    while len(drained) < 8000 and _readable(inbox, timeout_s=10):
        drained += inbox.drain()
    for thread in threads:
        thread.join()
    inbox.close()

    assert len(drained) == 8000
    for number in range(4):
        assert [i for n, i in drained if n == number] == list(range(2000))


def test_what_is_put_while_it_is_drained_does_not_silence_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox: Inbox[str] = Inbox()
    read = os.eventfd_read

    def put_and_read(fd: int) -> int:  # as another thread does, to which the call gives way
        monkeypatch.undo()
        inbox.put("second")
        return read(fd)

    inbox.put("first")
    monkeypatch.setattr(os, "eventfd_read", put_and_read)
    drained = inbox.drain()
    inbox.put("third")

    assert drained == ["first", "second"]
    assert _readable(inbox)
    assert inbox.drain() == ["third"]
    inbox.close()


def _readable(inbox: Inbox, timeout_s: float = 0) -> bool:  # type: ignore[type-arg]
    return bool(select.select([inbox.fileno()], [], [], timeout_s)[0])
