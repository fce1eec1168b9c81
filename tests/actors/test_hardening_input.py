"""What anybody may send to the port of the admin, the logger or an actor without changing anything."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from thespian.system.messages.admin import SystemShutdown

from sluicegate.actors import processes
from sluicegate.actors.addresses import address_of
from sluicegate.actors.frames import MAX_FRAME_BYTES, frame
from sluicegate.actors.signing import Envelope
from sluicegate.actors.system import attach
from tests.actors import ports
from tests.actors.conftest import Started
from tests.actors.doubles import Echo, Ping, Pong, Touch

OTHER = Envelope(b"x" * 32)
N_LARGE = 40
MAX_GROWTH_BYTES = 24 * 1024 * 1024
"""Three messages of the greatest size; those who hold connections would make it forty."""
TLS_HELLO = bytes.fromhex("160301007a010000760303") + os.urandom(32) + bytes(60)


@dataclass(slots=True)
class Target:
    """A running system with one actor, and the port that is attacked."""

    started: Started
    port: int
    pid: int
    marker: Path

    def rss_bytes(self) -> int:
        """The memory of the process that is attacked."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def answers(self) -> bool:
        """True when the admin and the actor still work, for the launcher and for others, and no code has run."""
        echo = self.started.system.create(Echo, global_name="echo")
        here = self.started.system.ask(echo, Ping("here"), timeout_s=5)
        with attach(port=self.started.port, key=self.started.key) as attached:
            there = attached.ask(attached.find("echo"), Ping("there"), timeout_s=5)
        return isinstance(here, Pong) and isinstance(there, Pong) and not self.marker.exists()

    def pids(self) -> list[int]:
        """The processes of the system."""
        return sorted(process.pid for process in processes.tree(self.started.system.admin_pid))

    def send(self, data: bytes, *, close: bool = True) -> socket.socket:
        """Send bytes over a new connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(data)
        if close:
            connection.close()
        return connection


@pytest.fixture(params=["admin", "logger", "actor"])
def target(request: pytest.FixtureRequest, started: Started, tmp_path: Path) -> Target:
    echo = started.system.create(Echo, global_name="echo")
    pong = started.system.ask(echo, Ping("pid"), timeout_s=5)
    assert isinstance(pong, Pong)
    admin = started.system.admin_pid
    [logger] = [pid for pid in processes.children(admin) if pid != pong.pid]
    pid = {"admin": admin, "logger": logger, "actor": pong.pid}[request.param]
    return Target(started, ports.port(pid), pid, tmp_path / "marker")


def stock_frame(message: object) -> bytes:
    """What stock Thespian would accept: a length and a pickle."""
    data = pickle.dumps(message)
    return b"%d>" % len(data) + data


ATTACKS: dict[str, Callable[[Path], bytes]] = {
    "crafted pickle": lambda marker: stock_frame((address_of(1), Touch(marker))),
    "bare crafted pickle": lambda marker: stock_frame(Touch(marker)),
    "crafted pickle with a made-up tag": lambda marker: frame(_tagged(Touch(marker), bytes(32))),
    "crafted pickle signed with another key": lambda marker: frame(OTHER.seal(Touch(marker)), OTHER.proof),
    "crafted pickle whose size alone is not signed": lambda marker: frame(OTHER.seal(Touch(marker))),
    "stock shutdown": lambda marker: stock_frame((address_of(1), SystemShutdown())),
    "negative length": lambda marker: b"-5>x",
    "pickled pair": lambda marker: stock_frame((1, 2)),
    "pickled triple": lambda marker: stock_frame((1, 2, 3)),
    "garbage": lambda marker: hashlib.sha512(b"garbage").digest() * 100,
    "http": lambda marker: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": lambda marker: TLS_HELLO,
    "zero length": lambda marker: b"0>",
    "huge length": lambda marker: b"99999999999999>" + bytes(100_000),
    "length just above the limit": lambda marker: b"8388609>" + bytes(100_000),
    "digits without an end": lambda marker: b"1" * 100_000,
    "short frame": lambda marker: frame(b"abc"),
    "empty": lambda marker: b"",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_crafted_bytes_change_nothing(target: Target, attack: Callable[[Path], bytes]) -> None:
    before = target.pids()

    with contextlib.suppress(ConnectionError):  # it may hang up before we are done
        target.send(attack(target.marker))

    assert target.answers()
    assert target.pids() == before


def test_unfinished_message_is_hung_up_on_when_its_length_is_too_large(target: Target) -> None:
    connection = target.send(b"99999999999999>", close=False)

    with connection:
        assert connection.recv(1) == b""
    assert target.answers()


def test_two_hundred_half_open_connections_change_nothing(target: Target) -> None:
    connections = [target.send(b"100", close=False) for _ in range(200)]

    answers = target.answers()
    for connection in connections:
        connection.close()

    assert answers
    assert target.answers()


def test_more_unfinished_messages_than_allowed_make_the_oldest_give_way(target: Target) -> None:
    connections = [target.send(b"100", close=False) for _ in range(600)]

    with connections[0] as oldest:
        assert oldest.recv(1) == b""
    answers = target.answers()
    for connection in connections:
        connection.close()

    assert answers


def test_messages_that_are_never_finished_take_no_memory_and_push_out_nobody(target: Target) -> None:
    large = b"x" * (MAX_FRAME_BYTES - 1)
    starts = [b"%d>" % MAX_FRAME_BYTES, b"%d>" % MAX_FRAME_BYTES + OTHER.proof(MAX_FRAME_BYTES)]
    echo = target.started.system.create(Echo, global_name="echo")
    before = target.rss_bytes()
    connections, answers = [], []

    for number in range(N_LARGE):
        connections.append(socket.create_connection(("127.0.0.1", target.port), timeout=5))
        with contextlib.suppress(OSError):  # it may hang up before we are done
            connections[-1].sendall(starts[number % 2] + large)
        if number % 10 == 0:
            answers.append(target.started.system.ask(echo, Ping(str(number), "x" * 1_000_000), timeout_s=20))
    grown = target.rss_bytes() - before
    works = target.answers()
    for connection in connections:
        connection.close()

    assert grown < MAX_GROWTH_BYTES
    assert [len(answer.text) for answer in answers if isinstance(answer, Pong)] == [1_000_000] * 4
    assert works


def test_signed_message_that_cannot_be_unpickled_is_dropped(target: Target) -> None:
    data = b"\x80\x05cno_such_module\nThing\n."
    tag = hmac.digest(target.started.key, data, "sha256")

    sealed = frame(len(data).to_bytes(4) + tag + data, Envelope(target.started.key).proof)
    connection = target.send(sealed, close=False)

    with connection:
        assert connection.recv(100) == frame(Envelope.refusal)
    assert target.answers()


def test_many_refused_messages_do_not_fill_the_log(target: Target) -> None:
    for _ in range(200):
        target.send(frame(b"x" * 100))

    assert target.answers()
    assert target.started.log_path.stat().st_size < 4096


def test_every_listening_socket_is_on_loopback(started: Started) -> None:
    started.system.create(Echo, global_name="echo")
    everyone = [os.getpid(), *(process.pid for process in processes.tree(started.system.admin_pid))]

    with attach(port=started.port, key=started.key):
        addresses = {address for pid in everyone for address, _ in ports.listening(pid)}

    assert addresses == {"127.0.0.1"}


def _tagged(message: object, tag: bytes) -> bytes:
    data = pickle.dumps(message)
    return len(data).to_bytes(4) + tag + data
