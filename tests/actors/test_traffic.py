from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from benchmarks.control_plane import TARGET_P99_MS, p99_ms, percentile, run
from sluicegate.actors.frames import BadFrame
from tests.actors.conftest import Started
from tests.actors.doubles import Do, Echo, Flood, Parent, Ping, Pong, Spawn, Told

TRIES = 3  # the machine may be busy with something else; the figure is about ours
STARVED_MS = 2.0  # where even a sleeper is woken so late (p99) the machine measures itself; idle ones take 0.2 ms


class Lateness:
    """How late this process is woken from short sleeps, by a thread that does nothing else."""

    def __init__(self) -> None:
        self._late_s: list[float] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._sleep)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._enough.set()
        self._thread.join()

    def p99_ms(self) -> float:
        """Of all sleeps."""
        return 1000 * percentile(self._late_s, 0.99)

    def _sleep(self) -> None:
        while not self._enough.is_set():
            began = time.monotonic()
            time.sleep(0.01)
            self._late_s.append(time.monotonic() - began - 0.01)


def test_star_of_fifty_loses_nothing_and_keeps_the_order(started: Started) -> None:
    result, _ = run(started.system, children=50, count=400, per_second=400)

    assert result.arrived == tuple(range(400))
    assert sorted(result.replied) == list(range(400))


def test_fifty_destinations_at_200_messages_a_second_keep_p99_below_20_ms(started: Started) -> None:
    measured_ms: list[float] = []
    late_ms: list[float] = []
    while not measured_ms or (measured_ms[-1] >= TARGET_P99_MS and len(measured_ms) < TRIES):
        if measured_ms:
            started.system.stop()
            started.restart()
        with Lateness() as lateness:
            result, _ = run(started.system, children=50, count=1_000, per_second=200)
        measured_ms.append(p99_ms(result))
        late_ms.append(lateness.p99_ms())

    if min(measured_ms) >= TARGET_P99_MS and min(late_ms) >= STARVED_MS:
        pytest.skip(f"starved: whoever slept was woken {min(late_ms):.0f} ms late at best (p99)")
    assert TARGET_P99_MS == 20
    assert min(measured_ms) < TARGET_P99_MS, (measured_ms, late_ms)


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
