from __future__ import annotations

from sluicegate.actors.timers import Timers


def test_due_timers_come_in_the_order_of_their_deadlines() -> None:
    timers = Timers()
    for name, deadline in (("c", 3.0), ("a", 1.0), ("later", 9.0), ("b", 2.0)):
        timers.set(name, deadline)

    due = timers.take_due(3.0)

    assert due == ["a", "b", "c"]
    assert timers.next_deadline() == 9.0


def test_timer_that_was_moved_is_due_once() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)

    assert timers.take_due(1.0) == []
    assert timers.take_due(5.0) == ["a"]
    assert timers.take_due(9.0) == []


def test_cancelled_timer_is_never_due() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    timers.cancel("unknown")

    assert timers.take_due(1.0) == []
    assert timers.next_deadline() is None
