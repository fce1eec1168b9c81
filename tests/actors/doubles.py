"""Small actors and messages for the tests of the actor system."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest

from sluicegate.actors import processes
from sluicegate.actors.base import Child, SafeActor, handles


@dataclass(frozen=True, slots=True)
class Ping:
    request_id: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    request_id: str
    text: str
    pid: int


@dataclass(frozen=True, slots=True)
class Spawn:
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Do:
    """Asks for a trick."""

    what: str
    request_id: str = ""
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    what: str
    request_id: str = ""
    values: tuple[object, ...] = ()


class Echo(SafeActor):
    @handles(Ping)
    def receiveMsg_Ping(self, message: Ping, sender: ActorAddress) -> None:
        self.send(sender, Pong(message.request_id, message.text, os.getpid()))


@dataclass(frozen=True, slots=True)
class Leave:
    """Asks for two last words to this address; a timer of so many seconds is still pending then."""

    to: ActorAddress
    timer_s: float


class Keeper(Echo):
    """Keeps the texts of messages that came without a request id, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: list[str] = []

    @handles(Told)
    def receiveMsg_Told(self, message: Told, sender: ActorAddress) -> None:
        self._texts.append(message.what)

    @handles(Do)
    def receiveMsg_Do(self, message: Do, sender: ActorAddress) -> None:
        self.send(sender, Told("texts", message.request_id, tuple(self._texts)))


class Leaver(Echo):
    """Ends soon after its last words, as a destination does whose worker has failed."""

    @handles(Leave)
    def receiveMsg_Leave(self, message: Leave, sender: ActorAddress) -> None:
        self.after(message.timer_s, "look")
        self.send(message.to, Told("progress"))
        self.send(message.to, Told("load failed"))
        self.cancel("look")
        self.after(0.1, "leave")

    def on_timer(self, name: Hashable) -> None:
        if name == "leave":
            self.send(self.myAddress, ActorExitRequest())


class Parent(Echo):
    """Starts an Echo for each Spawn, and counts their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.exits: list[str] = []

    @handles(Spawn)
    def receiveMsg_Spawn(self, message: Spawn, sender: ActorAddress) -> None:
        child = self.create_child(Echo)
        assert child is not None
        self.children.append(child)
        self.send(child.address, Ping(message.request_id))
        self.send(sender, Told("spawned", message.request_id, (child.pid,)))

    @handles(Pong)
    def receiveMsg_Pong(self, message: Pong, sender: ActorAddress) -> None:
        self.exits.append(f"pong {message.pid}")

    @handles(Do)
    def receiveMsg_Do(self, message: Do, sender: ActorAddress) -> None:
        if message.what == "ping_all":
            for child in self.children:
                self.send(child.address, Ping(text="x" * 1000))
        elif message.what == "stillborn":
            self.send(sender, Told(message.what, message.request_id, (self.stillborn(),)))
        elif message.what == "lose":
            self.lose_children(forget=bool(message.values))
            self.send(sender, Told(message.what, message.request_id))
        else:
            self.send(sender, Told(message.what, message.request_id, tuple(self.exits)))

    def stillborn(self) -> int:
        """A child ends before it tells its address; return for how many such children messages are kept after that."""
        child = self.create_child(Echo)
        assert child is not None
        self.send(child.address, Ping())
        _kill(child)
        self.forget_child(child)
        return len(self._myRef._awaitingAddressUpdate._awt)

    def lose_children(self, *, forget: bool) -> None:
        """All children end, and Thespian reaps them without telling."""
        for child in self.children:
            _kill(child)
        self._myRef._childExited(None)
        for child in self.children if forget else ():
            self.forget_child(child)

    def on_child_exited(self, address: ActorAddress) -> None:
        self.exits.append("exit")


def _kill(child: Child) -> None:
    pidfd = os.pidfd_open(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    processes.exited([pidfd], timeout_s=5)
    os.close(pidfd)


class Worker(SafeActor):
    """Does what it is told, for better or worse."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    @handles(Do)
    def receiveMsg_Do(self, message: Do, sender: ActorAddress) -> None:
        getattr(self, f"do_{message.what}")(message, sender)

    def do_report(self, message: Do, sender: ActorAddress) -> None:
        self.send(sender, Told("report", message.request_id, tuple(self.seen)))

    def do_raise(self, message: Do, sender: ActorAddress) -> None:
        self.seen.append("raised")
        raise ValueError("on purpose")

    def do_exit(self, message: Do, sender: ActorAddress) -> None:
        raise SystemExit(3)

    def do_sleep(self, message: Do, sender: ActorAddress) -> None:
        self.send(sender, Told("sleeping", message.request_id))
        time.sleep(3600)

    def do_timers(self, message: Do, sender: ActorAddress) -> None:
        self.after(0.05, "second")
        self.after(0.01, "first")
        self.after(0.01, "moved")
        self.after(0.07, "moved")
        self.after(0.02, "cancelled")
        self.cancel("cancelled")
        self.after(0.03, "raises")

    def on_timer(self, name: Hashable) -> None:
        self.seen.append(name)
        if name == "raises":
            raise ValueError("on purpose")

    def do_threads(self, message: Do, sender: ActorAddress) -> None:
        inbox = self.open_inbox(self.seen.extend)

        def put_many(number: int) -> None:
            for _ in range(100):
                inbox.put(number)

        for number in range(4):
            threading.Thread(target=put_many, args=(number,)).start()

    def do_sockets(self, message: Do, sender: ActorAddress) -> None:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:"):
                found.append(target)
        self.send(sender, Told("sockets", message.request_id, tuple(found)))

    def do_files(self, message: Do, sender: ActorAddress) -> None:
        values = tuple(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2))
        self.send(sender, Told("files", message.request_id, values))

    def do_own_fork(self, message: Do, sender: ActorAddress) -> None:
        pid = os.fork()
        if pid == 0:
            time.sleep(3600)
        self.send(sender, Told("own_fork", message.request_id, (pid,)))


class Flood(SafeActor):
    """Sends numbers to another one as told, and keeps those that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[object] = []

    @handles(Do)
    def receiveMsg_Do(self, message: Do, sender: ActorAddress) -> None:
        if message.what == "flood":
            other, count = message.values
            for number in range(count):
                self.send(other, Told("number", values=(number,)))
        else:
            self.send(sender, Told(message.what, message.request_id, tuple(self.numbers)))

    @handles(Told)
    def receiveMsg_Told(self, message: Told, sender: ActorAddress) -> None:
        self.numbers += message.values


class Unlucky(SafeActor):
    def __init__(self) -> None:
        super().__init__()
        raise ValueError("on purpose")


class Touch:
    """Unpickling one makes a file: what an attacker would send, in its mildest form."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def listening(port: int) -> socket.socket:
    """A connection to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)
