"""Fifty subjects with forty events each, through a receiver that answers every event by a script."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.raw_server import OK, RawServer, read_request
from tests.faults.delivering import Delivering, scale_waits

N_SUBJECTS, N_EACH = 50, 40
Answers = list[str]


def every_event_fails_twice(number: int) -> Answers:
    if number % 11 == 0:
        return ["429", "429"]
    return ["reset", "500"] if number % 13 == 0 else ["500", "500"]


def some_events_fail(number: int) -> Answers:
    return {0: ["500", "500"], 40: ["429"], 80: ["reset"], 120: ["cut"]}.get(number % 160, [])


class Scripted:
    """Takes a batch once each of its events has used up its script; a failing answer uses up one step of each."""

    def __init__(self, script: Callable[[int], Answers]) -> None:
        self.taken: list[str] = []
        self.running = self.most_running = 0
        self._left = {f"m{n}": script(n) for n in range(N_SUBJECTS * N_EACH)}
        self._lock = threading.Lock()
        self.server = RawServer(self._serve)

    def _serve(self, connection: socket.socket, number: int) -> None:
        while (request := read_request(connection)) is not None:
            ids = [event["messageId"] for event in json.loads(request[1])["batch"]]
            with self._lock:
                self.running += 1
                self.most_running = max(self.most_running, self.running)
            threading.Event().wait(0.025)  # so slow that several calls go out at a time
            with self._lock:
                self.running -= 1
                answer = self._answer(ids)
            if not _send(connection, answer):
                return

    def _answer(self, ids: list[str]) -> str:
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
    for first in range(0, N_SUBJECTS * N_EACH, 100):
        world.append([(f"m{n}", f"s{n % N_SUBJECTS}") for n in range(first, first + 100)])

    world.start(receiver.server.url, batch_size=25, in_flight=8)
    world.wait_settled()
    world.stop()
    receiver.server.close()

    of_subject: dict[int, list[int]] = {}
    for id_ in receiver.taken:
        of_subject.setdefault(int(id_[1:]) % N_SUBJECTS, []).append(int(id_[1:]))
    assert set(Counter(receiver.taken).values()) == {1}
    assert len(receiver.taken) == N_SUBJECTS * N_EACH
    assert len(of_subject) == N_SUBJECTS
    assert all(numbers == sorted(numbers) for numbers in of_subject.values())
    assert receiver.most_running >= 2
    assert (world.state().delivered, world.state().dead) == (N_SUBJECTS * N_EACH, 0)
