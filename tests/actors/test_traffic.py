from __future__ import annotations

import os
import signal
import time

import pytest

from benchmarks.control_plane import run
from sluicegate.actors.frames import BadFrame
from tests.actors.conftest import Started
from tests.actors.doubles import Do, Echo, Flood, Parent, Ping, Pong, Spawn, Told


def test_star_of_fifty_loses_nothing_and_keeps_the_order(started: Started) -> None:
    result, _ = run(started.system, children=50, count=400, per_second=400)

    assert result.arrived == tuple(range(400))
    assert sorted(result.replied) == list(range(400))


def test_two_actors_that_flood_each_other_get_everything_in_order(started: Started) -> None:
    left = started.system.create(Flood, global_name="left")
    right = started.system.create(Flood, global_name="right")

    started.system.tell(left, Do("flood", values=(right, 3000)))
    started.system.tell(right, Do("flood", values=(left, 3000)))

    for actor in (left, right):
        assert _received(started, actor, 3000) == tuple(range(3000))


def test_stopped_receivers_hold_up_nobody_else(started: Started) -> None:
    parent = started.system.create(Parent, global_name="parent")
    stopped = []
    for number in range(30):
        spawned = started.system.ask(parent, Spawn(str(number)), timeout_s=5)
        assert isinstance(spawned, Told)
        pid = spawned.values[0]
        assert isinstance(pid, int)
        stopped.append(pid)
    _wait_for_pongs(started, parent, 30)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)

    started.system.tell(parent, Do("ping_all"))
    spawned = started.system.ask(parent, Spawn("one more"), timeout_s=5)
    answer = started.system.ask(parent, Do("report", "after"), timeout_s=5)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)

    assert isinstance(spawned, Told)
    assert isinstance(answer, Told)


def test_large_message_arrives_and_one_that_is_too_large_harms_nobody(started: Started) -> None:
    echo = started.system.create(Echo, global_name="echo")
    text = "x" * 7_000_000

    with pytest.raises(BadFrame, match="too large"):
        started.system.ask(echo, Ping("too large", text + text), timeout_s=20)
    answer = started.system.ask(echo, Ping("large", text), timeout_s=20)

    assert isinstance(answer, Pong)
    assert answer.text == text


def _received(started: Started, actor: object, count: int) -> tuple[object, ...]:
    deadline = time.monotonic() + 30
    while True:
        answer = started.system.ask(actor, Do("report", os.urandom(4).hex()), timeout_s=10)
        assert isinstance(answer, Told)
        if len(answer.values) >= count or time.monotonic() > deadline:
            return answer.values
        time.sleep(0.05)


def _wait_for_pongs(started: Started, parent: object, count: int) -> None:
    assert len(_received(started, parent, count)) >= count
