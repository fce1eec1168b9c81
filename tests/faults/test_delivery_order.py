"""Fifty subjects with forty events each, through a receiver that answers every event by a script."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.delivery.breaker import Breaker, BreakerState
from tests.doubles.raw_server import OK, RawServer, read_request
from tests.faults.delivering import Delivering, scale_waits

N_SUBJECTS, N_EACH = 50, 40
Answers = list[str]


def every_event_fails_twice(number: int) -> Answers:
    if number % 11 == 0:
        return ["429", "429"]
    return ["reset", "500"] if number % 13 == 0 else ["500", "500"]


def every_event_fails_with_500_twice(number: int) -> Answers:
    return ["500", "500"]


def some_events_fail(number: int) -> Answers:
    return {0: ["500", "500"], 40: ["429"], 80: ["reset"], 120: ["cut"]}.get(number % 160, [])


class Scripted:
    """Takes a batch once each of its events has used up its script; a failing answer uses up one step of each.

    It is so slow by default that several calls go out at a time.
    """

    def __init__(
        self,
        script: Callable[[int], Answers],
        *,
        outages: Sequence[range] = (),
        n_events: int = N_SUBJECTS * N_EACH,
        takes_s: float = 0.025,
    ) -> None:
        self.taken: list[str] = []
        self.sizes: list[int] = []
        """Of the calls, in order."""
        self.running = self.most_running = 0
        self._outages = outages
        """Calls that fail whatever is in them."""
        self._takes_s = takes_s
        self._left = {f"m{n}": script(n) for n in range(n_events)}
        self._lock = threading.Lock()
        self.server = RawServer(self._serve)

    def _serve(self, connection: socket.socket, number: int) -> None:
        while (request := read_request(connection)) is not None:
            ids = [event["messageId"] for event in json.loads(request[1])["batch"]]
            with self._lock:
                self.running += 1
                self.most_running = max(self.most_running, self.running)
            threading.Event().wait(self._takes_s)
            with self._lock:
                self.running -= 1
                answer = self._answer(ids)
            if not _send(connection, answer):
                return

    def _answer(self, ids: list[str]) -> str:
        self.sizes.append(len(ids))
        if any(len(self.sizes) - 1 in calls for calls in self._outages):
            return ("500", "reset", "cut")[len(self.sizes) % 3]
        steps = [self._left[id_].pop(0) for id_ in ids if self._left[id_]]
        if steps:
            return steps[0]
        self.taken += ids
        return "200"


def _send(connection: socket.socket, answer: str) -> bool:
    if answer == "200":
        connection.sendall(OK)
    elif answer == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif answer == "cut":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
    else:
        extra = "Retry-After: 0\r\n" if answer == "429" else ""
        connection.sendall(f"HTTP/1.1 {answer} No\r\n{extra}Content-Length: 0\r\n\r\n".encode())
    return answer not in ("reset", "cut")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Delivering]:
    world = Delivering(tmp_path)
    yield world
    world.close()


@pytest.mark.parametrize("script", [every_event_fails_twice, some_events_fail])
def test_every_subject_keeps_its_order_and_every_event_is_taken_once(
    world: Delivering, monkeypatch: pytest.MonkeyPatch, script: Callable[[int], Answers]
) -> None:
    scale_waits(monkeypatch, 2_000.0)
    if script is every_event_fails_twice:  # which no breaker would let go on
        monkeypatch.setattr("sluicegate.delivery.breaker.FAILED_SHARE", 2.0)
    receiver = Scripted(script)

    deliver(world, receiver)

    assert_in_order_and_once(receiver.taken)
    assert receiver.most_running >= 2
    assert (world.state().delivered, world.state().dead) == (N_SUBJECTS * N_EACH, 0)


def test_order_and_single_delivery_hold_while_the_breaker_opens_and_half_opens(
    world: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_waits(monkeypatch, 20_000.0)
    # The second one begins when the breaker has let out one, two and four events.
    receiver = Scripted(some_events_fail, outages=[range(15, 50), range(53, 58), range(90, 140)])
    states = watch_breaker(monkeypatch)

    deliver(world, receiver)

    assert_in_order_and_once(receiver.taken)
    assert states >= {BreakerState.OPEN, BreakerState.HALF_OPEN}
    assert any(receiver.sizes[at : at + 3] == [1, 2, 4] for at in range(len(receiver.sizes))), receiver.sizes
    assert (world.state().delivered, world.state().dead) == (N_SUBJECTS * N_EACH, 0)


def test_order_and_single_delivery_hold_where_every_event_opens_the_breaker_again(
    world: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_waits(monkeypatch, 20_000.0)
    n_each = 6
    receiver = Scripted(every_event_fails_with_500_twice, n_events=N_SUBJECTS * n_each, takes_s=0.001)
    states = watch_breaker(monkeypatch)

    deliver(world, receiver, n_each=n_each)

    assert_in_order_and_once(receiver.taken, n_each=n_each)
    assert states >= {BreakerState.OPEN, BreakerState.HALF_OPEN}
    assert (world.state().delivered, world.state().dead) == (N_SUBJECTS * n_each, 0)


def watch_breaker(monkeypatch: pytest.MonkeyPatch) -> set[BreakerState]:
    """The states in which a breaker is asked whether calls may go out."""
    states: set[BreakerState] = set()
    admits = Breaker.admits

    def watched(breaker: Breaker, now: float) -> bool:
        admitted = admits(breaker, now)
        states.add(breaker.state)
        return admitted

    monkeypatch.setattr(Breaker, "admits", watched)
    return states


def deliver(world: Delivering, receiver: Scripted, *, n_each: int = N_EACH) -> None:
    """Everything, until it is settled."""
    for first in range(0, N_SUBJECTS * n_each, 100):
        world.append([(f"m{n}", f"s{n % N_SUBJECTS}") for n in range(first, first + 100)])
    world.start(receiver.server.url, batch_size=25, in_flight=8)
    world.wait_settled()
    world.stop()
    receiver.server.close()


def assert_in_order_and_once(taken: Sequence[str], *, n_each: int = N_EACH) -> None:
    """Each event came once, those of a subject in their order."""
    of_subject: dict[int, list[int]] = {}
    for id_ in taken:
        of_subject.setdefault(int(id_[1:]) % N_SUBJECTS, []).append(int(id_[1:]))
    assert set(Counter(taken).values()) == {1}
    assert len(taken) == N_SUBJECTS * n_each
    assert len(of_subject) == N_SUBJECTS
    assert all(numbers == sorted(numbers) for numbers in of_subject.values())
